"""The public ids of messages and attempts."""

import uuid
from typing import Final

MESSAGE_PREFIX: Final = "msg_"
ATTEMPT_PREFIX: Final = "att_"


def message_id_of(name: str) -> uuid.UUID | None:
    """Return the id of a message from its public id; None for text that is not one."""
    digits = name.removeprefix(MESSAGE_PREFIX)
    if digits == name or len(digits) != 32:
        return None
    try:
        found = uuid.UUID(digits)
    except ValueError:
        return None
    return found if found.hex == digits else None


def message_name(message_id: uuid.UUID) -> str:
    """Return the public id of a message, as receivers see it in `webhook-id`."""
    return MESSAGE_PREFIX + message_id.hex


def attempt_name(delivery_id: uuid.UUID, number: int) -> str:
    """Return the public id of an attempt: its delivery and its number."""
    return f"{ATTEMPT_PREFIX}{delivery_id.hex}_{number}"


def attempt_of(name: str) -> tuple[uuid.UUID, int] | None:
    """Return delivery and number from the public id of an attempt; None for text that is not one."""
    digits, _, number = name.removeprefix(ATTEMPT_PREFIX).partition("_")
    if len(digits) != 32 or not (number.isascii() and number.isdigit() and len(number) < 9):
        return None
    try:
        found = uuid.UUID(digits), int(number)
    except ValueError:
        return None
    return found if attempt_name(*found) == name else None
