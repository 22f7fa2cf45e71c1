"""What `mintwire doctor` checks: the services, the broker, the keys, and dead letters."""
