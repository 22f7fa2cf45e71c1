"""What at least two services use; imports no service."""
