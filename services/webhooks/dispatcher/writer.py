"""Writes the results of attempts: those that gather while one group is written form the next group."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from services.webhooks.domain.deliveries import Settlement
from shared.faults import TransientFault
from shared.log import get_logger
from shared.metrics import MAINTENANCE_FAILURES, WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS

MAX_GROUP: Final = 500
# The receiver already has its webhook; a statement per result would take the machine from the next attempt. If a crash
# within this time leaves a result unwritten, the delivery is sent again when its lease expires, like attempts in
# progress.
_GATHER_SECONDS: Final = 0.03
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0

Record = Callable[[Sequence[Settlement]], Awaitable[bool]]
"""Writes results and returns whether other deliveries have become due."""


class ResultWriter:
    """Keeps results until they are written; while the database is away it retries."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._gathered: list[Settlement] = []
        self._in_hand = 0
        self._arrived = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @property
    def unwritten(self) -> int:
        """The number of results that are not written yet."""
        return len(self._gathered) + self._in_hand

    def add(self, settlement: Settlement) -> None:
        """Add one result; never blocks."""
        self._gathered.append(settlement)
        self._is_empty.clear()
        self._arrived.set()

    async def run(self, note_backlog: Callable[[], None]) -> None:
        """Write until cancelled, and report when deliveries have become due."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._arrived.clear()
            while self._gathered:
                group, self._gathered = self._gathered[:MAX_GROUP], self._gathered[MAX_GROUP:]
                self._in_hand = len(group)
                _count(group)
                if await self._write(group):
                    note_backlog()
                self._in_hand = 0
            self._is_empty.set()

    async def drain(self) -> None:
        """Wait until all added results are written."""
        await self._is_empty.wait()

    async def _write(self, group: Sequence[Settlement]) -> bool:
        """Write a group; if that fails, halve it until the failing result is found."""
        try:
            return await self._record_until_there(group)
        except Exception as error:  # noqa: BLE001 - whatever one result does, the others are to be written
            if len(group) == 1:
                return await self._write_bare(group[0], error)
            half = len(group) // 2
            first, second = await self._write(group[:half]), await self._write(group[half:])
            return first or second

    async def _write_bare(self, settled: Settlement, error: Exception) -> bool:
        """Write a result without the receiver's response; if that fails too, leave it to its lease."""
        MAINTENANCE_FAILURES.labels("record_results").inc()
        facts = {"delivery_id": str(settled.held.delivery_id), "endpoint_id": str(settled.held.endpoint_id)}
        get_logger().error("result_not_written", **facts, exc_info=error)
        answer = replace(settled.answer, response=None, request_headers=None, response_headers=None)
        try:
            return await self._record_until_there([replace(settled, answer=answer)])
        except Exception as again:  # noqa: BLE001 - as above; the delivery is sent once more when its lease is over
            get_logger().error("result_dropped", **facts, exc_info=again)
            return False

    async def _record_until_there(self, group: Sequence[Settlement]) -> bool:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self.record(group)
            except TransientFault as fault:
                get_logger().warning("results_not_written", count=len(group), reason=str(fault))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)


def _count(group: Sequence[Settlement]) -> None:
    for (answer, trigger), count in Counter((s.answer.kind, s.held.trigger) for s in group).items():
        WEBHOOK_ATTEMPTS.labels(answer, trigger).inc(count)
    for settled in group:
        WEBHOOK_SECONDS.observe(settled.answer.duration_ms / 1000)
