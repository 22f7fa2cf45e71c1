"""The process: it stops on a signal, dies loudly with a part, and lets requests finish."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from shared.process import PartEnded, serve_http, supervise
from shared.web import READINESS, Readiness
from shared.web.health import Report

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, sys
from shared import log, process

async def main(stop):
    print("up", file=sys.stderr, flush=True)
    {body}

log.configure("test", "info", "json")
process.run(main, stop_seconds=0.5)
print("ended", flush=True)
"""


def _start(body: str) -> subprocess.Popen[str]:
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(body=body)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    # A pipe of its own: what readline buffers beyond its line, communicate would not see again.
    assert program.stderr is not None
    assert program.stderr.readline() == "up\n"
    return program


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_asks_to_stop_and_a_clean_end_is_zero(number: signal.Signals) -> None:
    with _start("await stop.wait()") as program:
        program.send_signal(number)
        output, _ = program.communicate(timeout=20)
    assert program.returncode == 0
    assert output.endswith("ended\n")


def test_main_that_raises_ends_in_one_with_a_log_line() -> None:
    with _start("raise RuntimeError('no broker')") as program:
        output, _ = program.communicate(timeout=20)
    assert program.returncode == 1
    assert "process_failed" in output
    assert "no broker" in output


def test_deadline_ends_a_process_that_does_not_stop() -> None:
    with _start("await asyncio.Event().wait()") as program:
        program.send_signal(signal.SIGTERM)
        output, _ = program.communicate(timeout=20)
    assert program.returncode == 1
    assert "process_stop_deadline_exceeded" in output


def test_part_that_dies_takes_the_process_down() -> None:
    body = "await process.supervise({'relay': asyncio.sleep(0), 'web': asyncio.sleep(99)}, stop)"
    with _start(body) as program:
        output, _ = program.communicate(timeout=20)
    assert program.returncode == 1
    assert "part_ended" in output


async def test_part_that_raises_cancels_the_others() -> None:
    cancelled = asyncio.Event()

    async def works() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("lost")

    with pytest.raises(ExceptionGroup) as caught:
        await supervise({"works": works(), "fails": fails()}, asyncio.Event())
    assert caught.group_contains(RuntimeError, match="lost")
    assert cancelled.is_set()


async def test_part_that_returns_early_is_a_failure() -> None:
    async def returns() -> None:
        await asyncio.sleep(0)

    with pytest.raises(ExceptionGroup) as caught:
        await supervise({"returns": returns()}, asyncio.Event())
    assert caught.group_contains(PartEnded)


async def test_finish_runs_while_the_parts_still_do() -> None:
    stop, asked, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def part() -> None:
        await asked.wait()
        done.set()

    async def finish() -> None:
        asked.set()
        await done.wait()

    stop.set()
    await asyncio.wait_for(supervise({"part": part()}, stop, finish), 30)
    assert done.is_set()


async def test_server_lets_a_request_finish_and_takes_no_new_one() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def ready() -> Report:
        return Report({})

    async def hold(_: web.Request) -> web.StreamResponse:
        entered.set()
        await release.wait()
        return web.Response(text="done")

    app = web.Application()
    app[READINESS] = Readiness(ready)
    draining = asyncio.Event()

    async def note(_: web.Application) -> None:
        assert app[READINESS].is_draining
        draining.set()

    app.on_shutdown.append(note)
    app.router.add_get("/", hold)
    async with aiohttp.ClientSession() as client, serve_http(app, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.port}/"
        request = asyncio.create_task(client.get(url))
        await asyncio.wait_for(entered.wait(), 30)
        closing = asyncio.create_task(server.close())
        await asyncio.wait_for(draining.wait(), 30)
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(url)
        release.set()
        answer = await request
        assert await answer.text() == "done"
        await closing
    await server.close()
