"""The services of Mintwire. They never import one another: they meet in events, HTTP and published views."""
