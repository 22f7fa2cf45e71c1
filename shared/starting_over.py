"""Restarts work that cannot continue in its transaction in a new one, a few times."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from shared.faults import TransientFault

T = TypeVar("T")

TRIES: Final = 3


class StartOver(Exception):
    """The work cannot continue in this transaction and is likely to succeed in the next one."""


async def until_it_stands(work: Callable[[bool], Awaitable[T]]) -> T:
    """Return the result of work that begins its own transaction; its argument says whether it was started over.

    Raises TransientFault if it raises StartOver every time.
    """
    for tried in range(TRIES):
        try:
            return await work(tried > 0)
        except StartOver:
            continue
    raise TransientFault("The rows that the work needs change faster than they can be locked.")
