"""The command: runs the stack on one machine, and is a client of the three HTTP APIs."""

VERSION = "0.1.0"
