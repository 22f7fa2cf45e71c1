"""What the webhook service does, one file per thing."""
