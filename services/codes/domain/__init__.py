"""The rules about programs, partners, keys, quotas and codes: standard library only, no clock, no I/O."""
