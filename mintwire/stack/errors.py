"""The errors of the local stack, each with a message that says what to do.

StackError
├── MissingSoftware
├── ServerFailed
└── StackInUse
"""

from __future__ import annotations


class StackError(Exception):
    """The local stack cannot continue."""


class MissingSoftware(StackError):
    """A program the stack needs is not on this machine and could not be installed."""


class ServerFailed(StackError):
    """A server or service did not start, or did not answer in time."""


class StackInUse(StackError):
    """Another supervisor already runs a stack in this folder."""
