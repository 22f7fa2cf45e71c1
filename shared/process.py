"""The life of a service's process: its loop and signals, the parts that must all run, and its HTTP server."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

import uvloop
from aiohttp import web

from shared.log import get_logger
from shared.web.health import READINESS
from shared.web.server import Runner

STOP_SECONDS: Final = 20.0
REQUESTS_SECONDS: Final = 8.0
# The surplus of allocations over deallocations that triggers a collection of the youngest generation. Requests leave no
# cycles, and at Python's default of 700 the collections took a good part of every request.
_COLLECT_AFTER: Final = 50_000

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


class PartEnded(Exception):
    """A part that should run as long as the process ended before the process was stopped."""


def run(main: Main, *, stop_seconds: float = STOP_SECONDS) -> None:
    """Run `main` until it returns; SIGTERM and SIGINT set its event.

    A second signal ends the process at once, and so does `stop_seconds` passing after the first. Exits with 1 if
    `main` raises.
    """
    _spare_collections()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_main(main, stop_seconds))
    except Exception as error:  # noqa: BLE001 - the process edge
        get_logger().error("process_failed", exc_info=error)
        raise SystemExit(1) from None


def _spare_collections() -> None:
    """Exclude the objects of the imports, which live as long as the process, from every later collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


async def _main(main: Main, stop_seconds: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    log = get_logger()

    def on_signal(name: str) -> None:
        if stop.is_set():
            log.warning("process_killed", signal=name)
            os._exit(1)
        log.info("process_stopping", signal=name)
        stop.set()
        loop.call_later(stop_seconds, on_deadline)

    def on_deadline() -> None:
        log.error("process_stop_deadline_exceeded", seconds=stop_seconds)
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    await main(stop)


async def supervise(
    parts: Mapping[str, Coroutine[Any, Any, None]],
    stop: asyncio.Event,
    finish: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run all parts until `stop` is set, then `finish` while they still run, then cancel the rest.

    A part that raises or returns before `stop` takes the others down and is raised from here.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_part(name, part, stop), name=name) for name, part in parts.items()]
        await stop.wait()
        if finish is not None:
            await finish()
        for task in tasks:
            task.cancel()


async def _part(name: str, part: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    try:
        await part
    except Exception as error:
        get_logger().error("part_failed", part=name, exc_info=error)
        raise
    if not stop.is_set():
        get_logger().error("part_ended", part=name)
        raise PartEnded(f"{name} ended before the process was stopped")


class HTTPServer:
    """A listening server. `close` may be called early and more than once."""

    def __init__(self, app: web.Application, runner: web.AppRunner, site: web.TCPSite) -> None:
        self._app = app
        self._runner = runner
        self._closing = asyncio.Lock()
        self._is_closed = False
        self.port = site.port

    async def close(self) -> None:
        """Report not ready, stop listening, let requests finish within the deadline, then clean up."""
        async with self._closing:
            if self._is_closed:
                return
            if (readiness := self._app.get(READINESS)) is not None:
                readiness.is_draining = True
            await self._runner.cleanup()
            self._is_closed = True


@contextlib.asynccontextmanager
async def serve_http(
    app: web.Application, host: str, port: int, *, requests_seconds: float = REQUESTS_SECONDS
) -> AsyncIterator[HTTPServer]:
    """Serve `app` for as long as the block runs; port 0 takes any free one, which `HTTPServer.port` returns."""
    runner = Runner(app, shutdown_timeout=requests_seconds)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        server = HTTPServer(app, runner, site)
    except BaseException:
        await runner.cleanup()
        raise
    get_logger().info("http_listening", host=host, port=server.port)
    try:
        yield server
    finally:
        await server.close()
