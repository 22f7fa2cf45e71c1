"""A database that is there and will not costs its users an answer of 503 and nothing else, for as long as it lasts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest

from shared.broker.operator.depths import depths
from shared.broker.topology import WORK_QUEUES, dead_queue
from tests.databases import SERVICES
from tests.system.bystanders import bystanders
from tests.system.signs import Signs
from tests.system.stack import Stack

AWAY_SECONDS = 3.0


@asynccontextmanager
async def only_reading(stack: Stack) -> AsyncIterator[None]:
    """Do as a failover to a standby does: sessions are lost, and new ones only read; those then stay so."""
    async with operator(stack) as connection:
        await connection.execute("ALTER DATABASE mintwire SET default_transaction_read_only = on")
        try:
            await end_sessions(connection)
            yield
        finally:
            await connection.execute("ALTER DATABASE mintwire RESET default_transaction_read_only")


@asynccontextmanager
async def refusing_log_ins(stack: Stack) -> AsyncIterator[None]:
    """Let no service log in, and end the sessions that they have."""
    async with operator(stack) as connection:
        try:
            for service in SERVICES:
                await connection.execute(f"ALTER ROLE mintwire_{service} NOLOGIN")
            await end_sessions(connection)
            yield
        finally:
            for service in SERVICES:
                await connection.execute(f"ALTER ROLE mintwire_{service} LOGIN")


@asynccontextmanager
async def operator(stack: Stack) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(
        stack.told["database_url"], server_settings={"default_transaction_read_only": "off"}
    )
    try:
        yield connection
    finally:
        await connection.close()


async def end_sessions(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'mintwire\\_%'")


async def dead_letters(stack: Stack) -> dict[str, int]:
    """How many lie in each dead queue."""
    found = await depths(stack.told["amqp_url"], map(dead_queue, WORK_QUEUES))
    return {queue: depth.messages for queue, depth in found.items() if depth is not None}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("fault", "words", "kind"),
    [(only_reading, "database only reads", "read_only"), (refusing_log_ins, "refuses the log-in", "login_refused")],
    ids=["only reads", "refuses log-ins"],
)
async def test_nobody_loses_anything_by_a_database_that_will_not(
    stack: Stack, fault: Callable[[Stack], AbstractAsyncContextManager[None]], words: str, kind: str
) -> None:
    signs, dead, pids = Signs(stack), await dead_letters(stack), {name: stack.pid(name) for name in SERVICES}
    async with bystanders(stack) as others:
        with others.database_away():
            async with fault(stack):
                await asyncio.sleep(AWAY_SECONDS)
                for service in SERVICES:
                    await signs.in_metric(service, "mintwire_database_failing", kind=kind)
                    await signs.in_log(service, "database_failed", kind=kind)
                    await signs.in_doctor(f"{service} is ready", words)
    for service in SERVICES:
        await signs.in_log(service, "database_recovered", kind=kind)
        assert not [line["event"] for line in signs.lines(service) if line.get("status") == 500]
    assert {name: stack.pid(name) for name in SERVICES} == pids, "a service died of it"
    assert await dead_letters(stack) == dead
    await signs.doctor_is_content()
