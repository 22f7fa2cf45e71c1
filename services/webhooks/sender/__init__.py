"""The outgoing HTTP client: dials checked addresses only, never follows redirects, and reads little of a response."""
