"""How many pages an account may ask of one process in a minute. Against loops and scripts, not against guessing."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

WINDOW_SECONDS: Final = 60.0
READS: Final = 300
WRITES: Final = 60
_MOST_ACCOUNTS: Final = 10_000


class Budgets:
    """Counts in windows of a minute, in this process."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._spent: dict[tuple[UUID, bool], int] = {}
        self._window = 0

    def spend(self, account_id: UUID, *, is_write: bool) -> int | None:
        """Count a request; return how many seconds to wait if there were too many, else None."""
        now = self._monotonic()
        window = int(now // WINDOW_SECONDS)
        if window != self._window or len(self._spent) > _MOST_ACCOUNTS:
            self._window, self._spent = window, {}
        spent = self._spent[account_id, is_write] = self._spent.get((account_id, is_write), 0) + 1
        if spent <= (WRITES if is_write else READS):
            return None
        return int((window + 1) * WINDOW_SECONDS - now) + 1
