"""Sends what is due: a pipe per endpoint, claims from the table, and results written in groups."""
