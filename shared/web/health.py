"""Whether the process lives (its loop runs), whether it is ready (its parts answer), and its metrics."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from shared.metrics import LOOP_LAG_SECONDS, render
from shared.periodic import Periodic
from shared.web.request import Request
from shared.web.responses import json_response


@dataclass(frozen=True, slots=True)
class Report:
    """What `/readyz` shows: `ok` or a reason for each name; `parts` decide, `details` only inform."""

    parts: Mapping[str, str]
    details: Mapping[str, str] = field(default_factory=dict)


Ready = Callable[[], Awaitable[Report]]

LAG_LIMIT_SECONDS: Final = 1.0
READY_SECONDS: Final = 3.0
_SAMPLE_SECONDS: Final = 0.25
_REMEMBERED_SAMPLES: Final = 20


class LoopLag:
    """How late the event loop runs its timers: the worst of the last five seconds."""

    def __init__(self) -> None:
        self._samples = [0.0] * _REMEMBERED_SAMPLES
        self._next = 0

    @property
    def worst_seconds(self) -> float:
        """The worst lag that is still remembered."""
        return max(self._samples)

    def note(self, seconds: float) -> None:
        """Remember one measurement."""
        self._samples[self._next] = seconds
        self._next = (self._next + 1) % _REMEMBERED_SAMPLES
        LOOP_LAG_SECONDS.set(seconds)

    async def measure(self) -> None:
        """Measure once; this takes a quarter of a second."""
        loop = asyncio.get_running_loop()
        due = loop.time() + _SAMPLE_SECONDS
        await asyncio.sleep(_SAMPLE_SECONDS)
        self.note(max(0.0, loop.time() - due))


class Readiness:
    """Answers `/readyz`; once draining, the process reports that and is never ready again."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready
        self.is_draining = False

    async def report(self) -> Report:
        """Return `ok` or a reason for every part and detail."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                report = await self._ready()
        except TimeoutError:
            report = Report({"checks": f"no answer within {READY_SECONDS:g} s"})
        if self.is_draining:
            return Report({**report.parts, "process": "stopping"}, report.details)
        return report


NAME: Final = web.AppKey("name", str)
READINESS: Final = web.AppKey("readiness", Readiness)
LOOP_LAG: Final = web.AppKey("loop_lag", LoopLag)


async def livez(request: Request) -> web.StreamResponse:
    """Answer 200 while the loop keeps up, with the name of the service."""
    worst = request.dependency(LOOP_LAG).worst_seconds
    is_alive = worst <= LAG_LIMIT_SECONDS
    name = request.dependency(NAME)
    body = {"service": name, "status": "ok" if is_alive else "lagging", "loop_lag_seconds": round(worst, 3)}
    return json_response(body, 200 if is_alive else 503)


async def readyz(request: Request) -> web.StreamResponse:
    """Answer 200 when every part is ok; details never make a service unready."""
    report = await request.dependency(READINESS).report()
    is_ready = all(state == "ok" for state in report.parts.values())
    body = {"status": "ok" if is_ready else "unavailable", "parts": report.parts, "details": report.details}
    return json_response(body, 200 if is_ready else 503)


async def metrics(_request: Request) -> web.StreamResponse:
    """Answer with the metrics in Prometheus' text format."""
    body, content_type = render()
    return web.Response(body=body, headers={"Content-Type": content_type})


async def watch_loop(app: web.Application) -> AsyncIterator[None]:
    """Measure the loop's lag for as long as the application runs."""
    task = asyncio.create_task(Periodic("loop_lag", 0.0, app[LOOP_LAG].measure).run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
