"""Whose turn it is: lanes one after the other, first tries before retries, and now and then a retry all the same."""

from collections import deque
from typing import Final

from services.webhooks.dispatcher.lanes import Lane

# While first tries wait too, every so many turns a retry is let through.
_EVERY: Final = 4


class Turns:
    """Lanes that have something to send."""

    def __init__(self) -> None:
        self._first: deque[Lane] = deque()
        self._retries: deque[Lane] = deque()
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._first or self._retries)

    def list(self, lane: Lane) -> None:
        """Give a lane its turns if it may send."""
        if not lane.is_open:
            return
        if lane.first_tries and not lane.is_listed:
            lane.is_listed = True
            self._first.append(lane)
        if lane.retries and not lane.is_retry_listed:
            lane.is_retry_listed = True
            self._retries.append(lane)

    def next(self, *, may_retry: bool) -> tuple[Lane, bool] | None:
        """Return the lane whose turn it is, and whether it is the turn of its retries; None if there is none."""
        is_retry = bool(self._retries) and may_retry and (not self._first or self._count % _EVERY == _EVERY - 1)
        queue = self._retries if is_retry else self._first
        if not queue:
            return None
        self._count += 1
        lane = queue.popleft()
        if is_retry:
            lane.is_retry_listed = False
        else:
            lane.is_listed = False
        return lane, is_retry
