"""The SQL of the redemption service: locks, what is read under them, and what a decision writes."""
