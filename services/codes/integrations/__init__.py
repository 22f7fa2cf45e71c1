"""What this service asks of others over HTTP; never inside a transaction."""
