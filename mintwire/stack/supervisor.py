"""Keeps units running: restarts and reports one that dies, and stops all of them in reverse order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from mintwire.stack import processes
from mintwire.stack.errors import ServerFailed, StackError
from mintwire.stack.units import Unit

Say = Callable[[str], None]
Result = TypeVar("Result")

_LOOK_SECONDS = 0.1
_FIRST_DELAY_SECONDS = 0.2
_MOST_DELAY_SECONDS = 5.0
# A unit that ran this long is not in a crash loop.
_STEADY_SECONDS = 10.0


class Supervisor:
    """The units of one stack, in the order of their start."""

    def __init__(self, say: Say, note_death: Callable[[str], None]) -> None:
        self._say = say
        self._note_death = note_death
        self._units: list[Unit] = []
        self._watches: list[asyncio.Task[None]] = []

    async def start(self, unit: Unit) -> None:
        """Start a unit, and register it to be stopped with the others."""
        self._units.append(unit)
        await step(unit.start)

    async def wait_answering(self, unit: Unit, timeout_seconds: float) -> None:
        """Wait until a started unit is ready; raises `ServerFailed` if it dies or takes too long."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while not await step(unit.is_answering):
            is_late = asyncio.get_running_loop().time() > deadline
            if is_late or not unit.is_running():
                what = f"is not ready after {timeout_seconds:g} s" if is_late else "ended"
                raise ServerFailed(f"{unit.name} {what}; the end of {unit.log}:\n{processes.tail(unit.log)}")
            await asyncio.sleep(_LOOK_SECONDS)

    async def discard(self, unit: Unit) -> None:
        """Stop a unit that is not needed after all."""
        self._units.remove(unit)
        await step(unit.stop)

    def watch(self) -> None:
        """Restart every unit that was started and dies, from now on; may be called again for those started since."""
        watched = {watch.get_name() for watch in self._watches}
        new = [unit for unit in self._units if unit.name not in watched]
        self._watches += [asyncio.create_task(self._watch(unit), name=unit.name) for unit in new]

    async def stop(self) -> None:
        """Stop all units, the last started first."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        for unit in reversed(self._units):
            await step(unit.stop)
            self._say(f"  {unit.name:<12} stopped")

    def kill(self) -> None:
        """Kill every process of every unit at once, after a second signal."""
        for unit in self._units:
            if record := unit.record:
                with suppress(ProcessLookupError):
                    os.kill(record.pid, signal.SIGKILL)

    async def _watch(self, unit: Unit) -> None:
        loop = asyncio.get_running_loop()
        delay, started_at = _FIRST_DELAY_SECONDS, loop.time()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if unit.is_running():
                continue
            self._note_death(unit.name)
            if loop.time() - started_at > _STEADY_SECONDS:
                delay = _FIRST_DELAY_SECONDS
            self._say(f"! {unit.name} died; restarting it in {delay:g} s (its log: {unit.log})")
            await asyncio.sleep(delay)
            delay = min(2 * delay, _MOST_DELAY_SECONDS)
            await self._restart(unit)
            started_at = loop.time()

    async def _restart(self, unit: Unit) -> None:
        try:
            await step(unit.start)
        except (StackError, OSError) as error:
            self._say(f"! {unit.name} did not restart: {error}")
        else:
            self._say(f"! {unit.name} restarted")


async def step(act: Callable[[], Result]) -> Result:
    """Run a blocking function in a thread, and let it finish even if cancelled: it may be starting a process."""
    running = asyncio.ensure_future(asyncio.to_thread(act))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
