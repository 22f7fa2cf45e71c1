"""The keys that find the deliveries about a promo code, however the code is spelled."""

import uuid
from typing import Final

from shared.canonical import canonical_code
from shared.derived_ids import derived_id

# Part of every stored key: with another namespace older deliveries would not be found.
_CODES: Final = uuid.UUID("0d2a6f0e-5c1b-5a9e-9a53-2f6f7a4b8c13")


def code_key(program_id: uuid.UUID, code: str) -> uuid.UUID:
    """Return the key of a code in a program; raises ValueError for text that cannot be a code."""
    return derived_id(_CODES, str(program_id), canonical_code(code))


def key_of_event(program_id: uuid.UUID, code: str | None) -> uuid.UUID | None:
    """Return the key of the code that an event names; None if it names no valid code, as programs' own events may."""
    try:
        return None if code is None else code_key(program_id, code)
    except ValueError:
        return None
