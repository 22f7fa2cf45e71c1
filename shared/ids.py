"""Identifiers: UUIDv7 for what we create (RFC 9562), UUIDv5 for what must come out the same on a repeat."""

import uuid

from uuid_utils import compat


def new_id() -> uuid.UUID:
    """Return a new UUIDv7; ids made later in one process sort later."""
    return compat.uuid7()


def derived_id(namespace: uuid.UUID, *parts: str) -> uuid.UUID:
    """Return the same UUIDv5 for the same namespace and parts; parts are joined unambiguously."""
    return uuid.uuid5(namespace, "\x1f".join(parts))
