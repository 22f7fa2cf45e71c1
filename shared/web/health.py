"""Whether the process lives (its loop runs), whether it is ready (its parts answer), and its metrics."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from shared.metrics import LOOP_LAG_SECONDS, render
from shared.web.request import Request
from shared.web.responses import json_response

Ready = Callable[[], Awaitable[Mapping[str, str]]]

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

    async def watch(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _SAMPLE_SECONDS
            await asyncio.sleep(_SAMPLE_SECONDS)
            self.note(max(0.0, loop.time() - due))


class Readiness:
    """Answers `/readyz`; once draining, the process says so and is never ready again."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready
        self.is_draining = False

    async def parts(self) -> dict[str, str]:
        """Return every part with `ok` or the reason why not."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                parts = dict(await self._ready())
        except TimeoutError:
            parts = {"checks": f"no answer within {READY_SECONDS:g} s"}
        if self.is_draining:
            parts["process"] = "stopping"
        return parts


READINESS: Final = web.AppKey("readiness", Readiness)
LOOP_LAG: Final = web.AppKey("loop_lag", LoopLag)


async def livez(request: Request) -> web.StreamResponse:
    """Answer 200 while the loop keeps up."""
    worst = request.dependency(LOOP_LAG).worst_seconds
    is_alive = worst <= LAG_LIMIT_SECONDS
    body = {"status": "ok" if is_alive else "lagging", "loop_lag_seconds": round(worst, 3)}
    return json_response(body, 200 if is_alive else 503)


async def readyz(request: Request) -> web.StreamResponse:
    """Answer 200 when every part is ok."""
    parts = await request.dependency(READINESS).parts()
    is_ready = all(state == "ok" for state in parts.values())
    body = {"status": "ok" if is_ready else "unavailable", "parts": parts}
    return json_response(body, 200 if is_ready else 503)


async def metrics(_request: Request) -> web.StreamResponse:
    """Answer with the metrics in Prometheus' text format."""
    body, content_type = render()
    return web.Response(body=body, headers={"Content-Type": content_type})


async def watch_loop(app: web.Application) -> AsyncIterator[None]:
    """Measure the loop's lag for as long as the application runs."""
    task = asyncio.create_task(app[LOOP_LAG].watch())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
