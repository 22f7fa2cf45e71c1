"""Connections are replaced for as long as it takes, and not in a rush."""

import asyncio
import socket

import pytest
from aiormq.base import FutureStore

from shared.boundary import INSIDE_TRANSACTION
from shared.broker import connection as connection_module
from shared.broker.connection import (
    BrokerUnavailable,
    Connection,
    backoff_seconds,
    connect,
    keep_connected,
    translated,
)
from tests.shared.broker.tools import Proxy, until


def test_the_backoff_doubles_to_five_seconds_with_full_jitter() -> None:
    most = [backoff_seconds(attempt, lambda: 1.0) for attempt in range(7)]
    assert most == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff_seconds(10**9, lambda: 1.0) == 5.0
    assert backoff_seconds(3, lambda: 0.0) == 0.0


async def test_a_session_is_begun_anew_after_each_loss(proxy: Proxy) -> None:
    sessions: list[Connection] = []

    async def session(connection: Connection) -> None:
        sessions.append(connection)
        await connection.lost(timeout_seconds=30)

    keeping = asyncio.create_task(keep_connected(proxy.url, "test", session))
    try:
        for number in range(1, 4):
            await until(lambda number=number: len(sessions) == number)  # type: ignore[misc]
            proxy.cut()
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
    assert all(connection.is_over for connection in sessions)


async def test_a_task_that_is_cancelled_while_it_closes_ends(proxy: Proxy) -> None:
    """Were the cancellation swallowed, a task that runs for ever would run on, and the process could not stop."""
    is_closing = asyncio.Event()

    async def run() -> None:
        connection = await connect(proxy.url, "test")
        proxy.silence()
        is_closing.set()
        await connection.close()
        await asyncio.sleep(60)

    task = asyncio.create_task(run())
    await is_closing.wait()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=20)
    assert done
    assert task.cancelled()


async def test_a_defect_in_a_session_comes_out(url: str) -> None:
    async def session(_: Connection) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await keep_connected(url, "test", session)


async def test_a_peer_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT_SECONDS", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:\d+ cannot be reached: no answer in time"),
    ):
        await connect(f"amqp://u:p@127.0.0.1:{deaf.getsockname()[1]}/v", "test")


async def test_wrong_credentials_are_told_without_the_password(url: str) -> None:
    wrong = url.replace("operator-test", "wrong-secret")
    with pytest.raises(BrokerUnavailable) as caught:
        await connect(wrong, "test")
    assert "ACCESS_REFUSED" in str(caught.value)
    assert "wrong-secret" not in str(caught.value)


async def test_connecting_inside_a_transaction_is_refused(url: str) -> None:
    token = INSIDE_TRANSACTION.set(True)
    try:
        with pytest.raises(RuntimeError, match="transaction"):
            await connect(url, "test")
    finally:
        INSIDE_TRANSACTION.reset(token)


async def test_a_connection_on_a_dead_network_is_closed_in_bounded_time(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "CLOSE_TIMEOUT_SECONDS", 0.2)
    connection = await connect(proxy.url, "test")
    proxy.silence()
    async with asyncio.timeout(30):
        await connection.close()
    assert connection.is_over


async def test_what_is_under_way_when_a_channel_closes_without_a_reason_fails_as_a_lost_channel() -> None:
    """The client fails it with a bare Exception, which once came out of a consumer's stop."""
    under_way = FutureStore(asyncio.get_running_loop())
    asked = under_way.create_task(asyncio.Event().wait())
    closing = asyncio.ensure_future(under_way.reject_all(None))
    with pytest.raises(BrokerUnavailable, match="channel closed"), translated():
        await asked
    await closing


def test_a_defect_is_not_taken_for_a_lost_channel() -> None:
    with pytest.raises(ValueError, match="a defect"), translated():
        raise ValueError("a defect")


async def test_lost_connections_leave_no_task_behind(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that lives for months loses its broker many times."""
    monkeypatch.setattr(connection_module, "BACKOFF_MOST_SECONDS", 0.01)
    sessions = 0

    async def session(connection: Connection) -> None:
        nonlocal sessions
        channel = await connection.channel(confirms=True)
        sessions += 1
        await connection.lost(channel.closing, timeout_seconds=30)

    keeping = asyncio.create_task(keep_connected(proxy.url, "test", session))
    try:
        await until(lambda: sessions == 1)
        tasks_of_one = len(asyncio.all_tasks())
        for number in range(2, 30):
            proxy.cut()
            await until(lambda number=number: sessions == number)  # type: ignore[misc]
        await until(lambda: len(asyncio.all_tasks()) <= tasks_of_one)
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
