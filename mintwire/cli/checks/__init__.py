"""What `mintwire doctor` looks at: the services, the broker, the keys, and what lies dead."""
