"""Periodic tasks outlive whatever they raise, say so once, and go on when it is over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared import periodic
from shared.broker.connection import BrokerUnavailable
from shared.database.faults import DatabaseFault
from shared.faults import TransientFault
from shared.periodic import ElementsFailed, Failing, Periodic, for_each, together_or_each

NAME = "test_task"


class Script:
    """What a task comes across, call by call; after that it works."""

    def __init__(self, *faults: BaseException | None) -> None:
        self._faults = list(faults)
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        if self._faults and (fault := self._faults.pop(0)) is not None:
            raise fault


@asynccontextmanager
async def running(task: Periodic) -> AsyncIterator[asyncio.Task[None]]:
    running = asyncio.create_task(task.run())
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.wait({running})


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - tests wait on a condition
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "MOST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(periodic, "_SHORTEST_PAUSE_SECONDS", 0.001)


def failures() -> float:
    return REGISTRY.get_sample_value("mintwire_maintenance_failures_total", {"task": NAME}) or 0.0


async def test_a_task_goes_on_after_whatever_it_raises() -> None:
    """One comparison of a naive time with an aware one once took a whole service down."""
    script = Script(TypeError("naive"), TransientFault("away"), asyncio.CancelledError(), MemoryError())
    task = Periodic(NAME, 0.001, script)
    before = failures()
    async with running(task) as loop:
        await until(lambda: script.calls > 5)
        assert not loop.done()
    assert task.is_ok
    assert failures() - before == 4


async def test_each_kind_is_logged_once_and_so_is_the_end() -> None:
    script = Script(TypeError("a"), TypeError("b"), TransientFault("c"), TypeError("d"), None, TypeError("e"))
    with capture_logs() as logged:
        async with running(Periodic(NAME, 0.001, script)):
            await until(lambda: script.calls > 8)
    assert [(line["event"], line.get("kind"), line["log_level"]) for line in logged] == [
        ("maintenance_failed", "TypeError", "error"),
        ("maintenance_failed", "TransientFault", "warning"),
        ("maintenance_recovered", None, "info"),
        ("maintenance_failed", "TypeError", "error"),
        ("maintenance_recovered", None, "info"),
    ]
    assert {line["task"] for line in logged} == {NAME}
    assert [line["failures"] for line in logged if line["event"] == "maintenance_recovered"] == [4, 1]


async def test_what_is_shown_names_the_kinds_and_never_their_text() -> None:
    """`/readyz` needs no key, and texts of exceptions carry rows."""
    script = Script(*([ExceptionGroup("some", [KeyError("secret"), ValueError("secret")])] * 1000))
    task = Periodic(NAME, 0.001, script)
    assert task.state == "ok"
    async with running(task):
        await until(lambda: not task.is_ok)
        assert task.state.startswith("failing since 20")
        assert task.state.endswith("Z: KeyError, ValueError")


async def test_pauses_grow_and_a_wake_does_not_shorten_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose failure wakes itself would else run hot."""
    slept: list[float] = []
    pause = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await pause(0)

    monkeypatch.setattr(periodic, "MOST_PAUSE_SECONDS", 30.0)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    wake = asyncio.Event()
    calls = 0

    async def act() -> None:
        nonlocal calls
        calls += 1
        wake.set()
        raise ValueError if calls < 12 else BrokerUnavailable

    async with running(Periodic(NAME, 1.0, act, wake=wake)):
        while calls < 20:
            await pause(0)
    assert all(0.75 * full <= got <= full for full, got in zip([1, 2, 4, 8, 16, 30, 30], slept, strict=False))
    assert slept[15] <= periodic.MOST_OUTAGE_SECONDS


@pytest.mark.parametrize(
    ("fault", "longest"),
    [
        (DatabaseFault("read_only", OSError()), periodic.MOST_OUTAGE_SECONDS),
        (DatabaseFault("login_refused", OSError()), periodic.MOST_OUTAGE_SECONDS),
        (BrokerUnavailable(), periodic.MOST_OUTAGE_SECONDS),
        # Not the server, but this statement takes too long: more of it would make things worse.
        (DatabaseFault("canceled", OSError()), 600.0),
    ],
)
async def test_a_task_of_long_intervals_works_again_soon_after_an_outage(
    monkeypatch: pytest.MonkeyPatch, fault: TransientFault, longest: float
) -> None:
    """It would else be shown as failing for minutes after the end."""
    slept: list[float] = []
    pause = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await pause(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    script = Script(*[fault] * 5)
    async with running(Periodic(NAME, 600.0, script)):
        await until(lambda: script.calls == 6)
    assert all(0.75 * longest <= each <= longest for each in slept if each != 0.001)


async def test_a_wake_calls_it_early_and_true_calls_it_again() -> None:
    wake = asyncio.Event()
    answers = [True, True, False]
    calls = 0

    async def act() -> bool:
        nonlocal calls
        calls += 1
        return answers.pop(0) if answers else False

    async with running(Periodic(NAME, 3600.0, act, wake=wake)):
        await until(lambda: calls == 3)
        await asyncio.sleep(0.01)
        assert calls == 3
        wake.set()
        await until(lambda: calls == 4)


async def test_one_bad_element_does_not_keep_the_others_from_their_turn() -> None:
    done: list[int] = []

    async def act(element: int) -> None:
        if element in {1, 3}:
            raise ValueError(element)
        done.append(element)

    with pytest.raises(ElementsFailed) as caught:
        await for_each(range(5), act)
    assert (done, len(caught.value.errors)) == ([0, 2, 4], 2)


async def test_a_server_that_is_away_ends_the_round() -> None:
    calls = 0

    async def act(_: int) -> None:
        nonlocal calls
        calls += 1
        raise TransientFault("away")

    work: Awaitable[None] = for_each(range(5), act)
    with pytest.raises(TransientFault):
        await work
    assert calls == 1


async def test_elements_that_fail_slow_nothing_down_and_are_shown_until_they_work() -> None:
    """Else one endpoint that cannot be loaded would make all others wait for the end of a backoff."""
    now = 0.0
    failing = Failing(10.0, lambda: now)
    calls = 0

    async def act() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            failing.note("bad", KeyError("x"))
        failing.raise_if_any()

    wake = asyncio.Event()
    task = Periodic(NAME, 3600.0, act, wake=wake)
    with capture_logs() as logged:
        async with running(task):
            for count in (1, 2, 3):
                await until(lambda count=count: calls == count)  # type: ignore[misc]
                assert "KeyError" in task.state
                wake.set()
            now = 11.0
            wake.set()
            await until(lambda: task.is_ok)
    assert [line["event"] for line in logged] == ["maintenance_failed", "maintenance_recovered"]
    failing.note("bad", KeyError("x"))
    failing.forget("bad")
    failing.raise_if_any()


async def test_what_fails_together_is_done_one_by_one() -> None:
    done: list[int] = []

    async def act(elements: Sequence[int]) -> None:
        if 3 in elements:
            raise ValueError(elements)
        done.extend(elements)

    assert await together_or_each([1, 2], act) == []
    failed = await together_or_each([3, 4, 5], act)
    assert ([element for element, _ in failed], done) == ([3], [1, 2, 4, 5])
