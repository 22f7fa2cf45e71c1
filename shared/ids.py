"""Identifiers of our objects: UUIDv7 (RFC 9562), and ids of requests."""

import itertools
import os
import uuid
from datetime import datetime, timedelta
from typing import Final

from uuid_utils import compat

_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
# An id of this process and a counter in it: unique without a system call each time.
_PROCESS: Final = os.urandom(8).hex()
_numbers = itertools.count(1)


def new_id() -> uuid.UUID:
    """Return a new UUIDv7; ids made later in one process sort later."""
    return compat.uuid7()


def new_request_id() -> str:
    """Return an id for one request, for log lines and answers; unique, not secret."""
    return f"{_PROCESS}{next(_numbers):08x}"


def earliest_id(moment: datetime) -> uuid.UUID:
    """Return an id that sorts before every UUIDv7 made at `moment` or later."""
    return uuid.UUID(int=(moment - _EPOCH) // _MILLISECOND << 80)
