"""Counts what the broker itself moved to a dead queue, by its reason, with the rights of the queue's own service.

What a consumer rejects it counts itself. What expires, or ends its consumers up to the delivery limit, no consumer ever
hears of; it has to be looked for in the dead queue.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from shared.broker import dead
from shared.log import get_logger
from shared.metrics import BROKER_DEAD_MESSAGES

INTERVAL_SECONDS: Final = 60.0
# More cannot be held at a time; so many are reason enough to look.
_LOOKED_AT: Final = 1000


class CountGivenUp:
    """Looks into the dead queue when more lies there than this process has sent, as `buried` counts it.

    While it looks, others do not see what it has in hand; so it looks only when there is something to find.
    """

    def __init__(self, url: str, queue: str, buried: Callable[[], int]) -> None:
        self._url = url
        self._queue = queue
        self._buried = buried
        self._has_begun = False
        # What the dead queue held at the last look, and how many this process had sent by then.
        self._seen = self._seen_buried = 0
        self._reasons: Counter[str] = Counter()
        self._log = get_logger().bind(queue=queue)

    async def __call__(self) -> None:
        """Look, if there is a reason to, and set the metric; not at the first call, when a process starts."""
        if not self._has_begun:
            self._has_begun = True
            return
        buried = self._buried()
        async with dead.opened(self._url, self._queue) as found:
            if found.count > self._seen + buried - self._seen_buried or (self._reasons and found.count < self._seen):
                self._tell(await found.moved_by_broker(_LOOKED_AT))
        self._seen, self._seen_buried = found.count, buried

    def _tell(self, reasons: Counter[str]) -> None:
        for reason in reasons | self._reasons:
            BROKER_DEAD_MESSAGES.labels(queue=self._queue, reason=reason).set(reasons[reason])
            if reasons[reason] > self._reasons[reason]:
                self._log.error("messages_given_up", reason=reason, count=reasons[reason])
        self._reasons = reasons
