"""Whose turn it is: first attempts at working receivers go first, with an occasional turn for everything else."""

from collections import deque
from typing import Final

from services.webhooks.dispatcher.pipes import Pipe

# While first attempts at working receivers wait, one turn in this many goes to something else.
_EVERY: Final = 4


class Turns:
    """Pipes that have something to send."""

    def __init__(self) -> None:
        self._first: deque[Pipe] = deque()
        self._rest: deque[Pipe] = deque()
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._first or self._rest)

    def list(self, pipe: Pipe) -> None:
        """Add a pipe to the turns if it may send."""
        if not pipe.is_open:
            return
        if pipe.has_priority and not pipe.is_listed:
            pipe.is_listed = True
            self._first.append(pipe)
        if pipe.has_others and not pipe.is_rest_listed:
            pipe.is_rest_listed = True
            self._rest.append(pipe)

    def next(self, *, may_rest: bool) -> tuple[Pipe, bool] | None:
        """Return the pipe whose turn it is, and whether it has priority; None if there is none.

        `may_rest` is whether deliveries without priority may be sent.
        """
        is_rest = bool(self._rest) and may_rest and (not self._first or self._count % _EVERY == _EVERY - 1)
        queue = self._rest if is_rest else self._first
        if not queue:
            return None
        self._count += 1
        pipe = queue.popleft()
        if is_rest:
            pipe.is_rest_listed = False
        else:
            pipe.is_listed = False
        return pipe, not is_rest
