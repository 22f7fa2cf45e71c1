"""What the redemption service does, one file per thing."""
