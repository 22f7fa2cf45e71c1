"""Bare programs: the same work on the same servers and libraries, without anything else that a product needs."""
