"""Work that cannot go on in its transaction is started over in the next one, a few times."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from shared.faults import TransientFault

T = TypeVar("T")

TRIES: Final = 3


class StartOver(Exception):
    """The work cannot go on in this transaction and has a good chance in the next one."""


async def until_it_stands(work: Callable[[bool], Awaitable[T]]) -> T:
    """Return what work returns that begins a transaction of its own, and is told whether it was started over.

    Raises TransientFault if it raises StartOver every time.
    """
    for tried in range(TRIES):
        try:
            return await work(tried > 0)
        except StartOver:
            continue
    raise TransientFault("What the work stands on changes faster than it can be locked.")
