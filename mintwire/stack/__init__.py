"""Runs the whole system on one machine: private servers, the three services, a demo receiver.

It refuses to touch anything it did not start: no system service, no default port, no foreign process.
"""
