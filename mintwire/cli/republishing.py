"""Republishes events of the history with the operator's rights: confirmed, paced, and resumable."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from mintwire.cli.event_history import Published
from mintwire.cli.output import tell
from shared.broker.connection import BrokerUnavailable
from shared.broker.publisher import Publisher
from shared.broker.topology import replay_exchange
from shared.events.envelope import OutboxEvent

_PATIENCE_SECONDS = 60.0
# A broker that was never there is reported sooner.
_FIRST_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.5
_TELL_SECONDS = 5.0


class Republishing:
    """Sends batches to the events' own exchanges, or to one queue; if left early, it prints where to continue."""

    def __init__(self, url: str, queue: str | None, rate: int) -> None:
        self._url = url
        self._queue = queue
        self._rate = rate
        self._publishers: dict[str, Publisher] = {}
        self._stack = AsyncExitStack()
        self._told_at = time.monotonic()
        self._waiting: Sequence[Published] = ()
        self.counts: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        if exc is not None and self._waiting:
            tell(f"{self._progress()}; continue with --since {self._waiting[0].created_at}")

    async def publish(self, batch: Sequence[Published]) -> None:
        """Publish a batch until all of it is confirmed, at the configured rate.

        Raises `BrokerUnavailable` if nothing was confirmed for a minute, or for ten seconds at the beginning.
        """
        started = time.monotonic()
        self._waiting = batch
        patient_until = started + (_PATIENCE_SECONDS if self.counts else _FIRST_PATIENCE_SECONDS)
        while self._waiting:
            confirmed = await self._send(self._waiting)
            self.counts.update(each.event.type for each in self._waiting if each.event.id in confirmed)
            self._waiting = [each for each in self._waiting if each.event.id not in confirmed]
            if confirmed:
                patient_until = time.monotonic() + _PATIENCE_SECONDS
            elif time.monotonic() > patient_until:
                raise BrokerUnavailable(f"The broker does not confirm: {len(self._waiting)} events wait.")
            if self._waiting:
                await asyncio.sleep(_PAUSE_SECONDS)
        self._waiting = batch[-1:]
        self._report_progress()
        await asyncio.sleep(max(0.0, len(batch) / self._rate - (time.monotonic() - started)))

    async def _send(self, batch: Iterable[Published]) -> set[uuid.UUID]:
        by_exchange: dict[str, list[OutboxEvent]] = {}
        for each in batch:
            exchange = replay_exchange(self._queue) if self._queue else each.service
            by_exchange.setdefault(exchange, []).append(each.event)
        confirmed: set[uuid.UUID] = set()
        for exchange, events in by_exchange.items():
            confirmed |= await (await self._to(exchange)).publish_many(events)
        return confirmed

    async def _to(self, exchange: str) -> Publisher:
        if exchange not in self._publishers:
            publisher = Publisher(self._url, exchange, name=f"republishing to {exchange}")
            self._publishers[exchange] = await self._stack.enter_async_context(publisher)
        return self._publishers[exchange]

    def _report_progress(self) -> None:
        if self._waiting and time.monotonic() - self._told_at > _TELL_SECONDS:
            self._told_at = time.monotonic()
            tell(f"{self._progress()}, up to those made at {self._waiting[-1].created_at}")

    def _progress(self) -> str:
        return f"{self.counts.total():,} events republished"
