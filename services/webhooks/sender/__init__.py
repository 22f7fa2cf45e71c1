"""The way out: one HTTP client that dials vetted addresses only, never follows, and reads little of what comes back."""
