"""Whether the broker, in an alarm, accepts nothing from a publisher: logged at both ends, and a metric.

The broker blocks a connection once it publishes; a connection with nothing to publish does not learn of the alarm.
"""

import time

from shared.log import get_logger
from shared.metrics import PUBLISHER_BLOCKED


class Blocking:
    """The state of one exchange's publisher; `reason` is None while the broker accepts publishes."""

    def __init__(self, exchange: str) -> None:
        self._log = get_logger().bind(exchange=exchange)
        self._gauge = PUBLISHER_BLOCKED.labels(exchange)
        self._began = 0.0
        self.reason: str | None = None

    def note(self, reason: str | None) -> None:
        """Record the broker's reason; None also when the connection has ended."""
        if reason is not None and self.reason is None:
            self._began = time.monotonic()
            self._log.warning("publisher_blocked", reason=reason)
        elif reason is None and self.reason is not None:
            self._log.info("publisher_unblocked", reason=self.reason, seconds=round(time.monotonic() - self._began, 1))
        self.reason = reason
        self._gauge.set(0 if reason is None else 1)
