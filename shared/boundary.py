"""The rule that no transaction stays open across a network call, checked at run time."""

from contextvars import ContextVar
from typing import Final

INSIDE_TRANSACTION: Final[ContextVar[bool]] = ContextVar("inside_transaction", default=False)


def refuse_inside_transaction(what: str) -> None:
    """Raise RuntimeError if the caller holds a database transaction; network clients call this before they send."""
    if INSIDE_TRANSACTION.get():
        raise RuntimeError(f"{what} must not run while a database transaction is open.")
