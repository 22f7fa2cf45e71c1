"""The figures of the mixed day, proved with planted stalls and faults, and the receivers that it needs."""

import asyncio
import itertools
import os
import time
from pathlib import Path

import aiohttp
import pytest

from bench.disk import Counts, fsync_loop
from bench.environment import Program, free_port
from bench.figures import Seen, at_rate, percentile
from tests.databases import Database


def test_a_percentile_is_a_value_that_so_many_are_not_above() -> None:
    values = [float(number) for number in range(1000, 0, -1)]
    assert [percentile(values, percent) for percent in (50, 99, 99.9, 100)] == [500, 990, 999, 1000]
    assert percentile([7.0], 99.9) == 7


def test_what_never_succeeded_has_counts_and_no_latencies() -> None:
    seen = Seen()
    seen.failures["503"] += 2
    seen.late += [0.001, 0.001]
    summary = seen.summary()
    assert (summary["count"], summary["failed"], summary["p50_ms"], summary["failures"]) == (2, 2, None, {"503": 2})


async def test_all_who_were_due_in_a_stall_have_waited_through_it() -> None:
    """A load that counted from the moment of sending would see one slow request and hide the others."""
    numbers = itertools.count()

    async def stalls_once() -> None:
        if next(numbers) == 10:
            time.sleep(0.5)  # noqa: ASYNC251 - what a stall of everything is

    seen = await at_rate(stalls_once, 100, 1)
    assert len(seen.latencies) == 100
    # At least those that were due in the first half of the stall waited for its second half.
    assert sum(latency > 0.25 for latency in seen.latencies) >= 25
    assert sum(late > 0.25 for late in seen.late) >= 25


async def test_failures_are_counted_by_their_reason_and_not_as_latencies() -> None:
    numbers = itertools.count()

    async def fails_in_turn() -> str | None:
        match next(numbers) % 4:
            case 0:
                return "503"
            case 1:
                raise aiohttp.ServerDisconnectedError
            case 2:
                await asyncio.sleep(3600)
        return None

    seen = await at_rate(fails_in_turn, 1000, 0.04, patience_seconds=2)
    assert seen.failures == {"503": 10, "ServerDisconnectedError": 10, "no answer within 2 s": 10}
    assert seen.summary()["count"] == 40


async def test_the_commits_of_others_are_counted(database: Database) -> None:
    before = await Counts.read(database.admin)
    for _ in range(5):
        # Each ends a session, and a session reports its counts at the latest when it ends.
        await Counts.read(database.admin)
    after = await Counts.read(database.admin)
    rates = after.per_second_since(before)
    assert rates["commits"] * (after.taken_at - before.taken_at) >= 4
    assert set(rates) == {"commits", "wal_fsyncs", "other_fsyncs", "wal_bytes"}


def test_an_fsync_loop_leaves_nothing_behind(tmp_path: Path) -> None:
    told = fsync_loop(tmp_path, 0.1)
    assert told["per_s"] > 0
    assert told["p99_ms"] >= told["p50_ms"] > 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("mode", "status", "came", "refused"),
    [((), 204, 1, 0), (("--slow", "0.3"), 204, 1, 0), (("--failing", "1"), 500, 0, 1)],
    ids=["fast", "slow", "failing"],
)
async def test_a_receiver_is_as_bad_as_it_is_asked_to_be(
    mode: tuple[str, ...], status: int, came: int, refused: int, tmp_path: Path
) -> None:
    port = free_port()
    receiver = Program(["bench.receiver", *mode, str(port)], log=tmp_path / "log")
    try:
        assert await asyncio.to_thread(receiver.wait_for_line) == "ready\n"
        body = {"code": "A1", "card_id": repr(time.monotonic())}
        began = time.monotonic()
        async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}/", json=body) as answer:
            assert answer.status == status
        assert time.monotonic() - began >= (0.3 if mode[:1] == ("--slow",) else 0)
        report = await asyncio.to_thread(receiver.report)
        assert (report["count"], report["refused"]) == (came, refused)
    finally:
        await asyncio.to_thread(receiver.end)
        assert receiver.process.stdout is not None
        receiver.process.stdout.close()
