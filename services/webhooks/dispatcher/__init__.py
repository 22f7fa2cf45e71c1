"""Sends what is due: a lane per endpoint, claims from the table, and results written in groups."""
