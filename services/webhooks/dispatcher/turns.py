"""Whose turn it is: first tries at receivers that work go first, and now and then something else all the same."""

from collections import deque
from typing import Final

from services.webhooks.dispatcher.lanes import Lane

# While first tries at receivers that work wait too, every so many turns something else is let through.
_EVERY: Final = 4


class Turns:
    """Lanes that have something to send."""

    def __init__(self) -> None:
        self._first: deque[Lane] = deque()
        self._rest: deque[Lane] = deque()
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._first or self._rest)

    def list(self, lane: Lane) -> None:
        """Give a lane its turns if it may send."""
        if not lane.is_open:
            return
        if lane.has_priority and not lane.is_listed:
            lane.is_listed = True
            self._first.append(lane)
        if lane.has_others and not lane.is_rest_listed:
            lane.is_rest_listed = True
            self._rest.append(lane)

    def next(self, *, may_rest: bool) -> tuple[Lane, bool] | None:
        """Return the lane whose turn it is, and whether it has priority; None if there is none.

        `may_rest` says whether anything without priority may go out.
        """
        is_rest = bool(self._rest) and may_rest and (not self._first or self._count % _EVERY == _EVERY - 1)
        queue = self._rest if is_rest else self._first
        if not queue:
            return None
        self._count += 1
        lane = queue.popleft()
        if is_rest:
            lane.is_rest_listed = False
        else:
            lane.is_listed = False
        return lane, not is_rest
