"""HTTP calls to other services; never inside a transaction."""
