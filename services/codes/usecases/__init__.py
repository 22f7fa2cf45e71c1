"""What the codes service does, one file per thing."""
