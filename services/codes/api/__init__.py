"""HTTP in: each module declares the routes of one resource, parses, calls one use case and renders."""
