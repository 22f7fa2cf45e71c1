"""The SQL of the redemption service: locks, reads under them, and the writes of decisions."""
