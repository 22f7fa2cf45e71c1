"""The SQL of the dashboard, in its own schema."""
