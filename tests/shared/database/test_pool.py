"""The pool: faults that ask for a later try are told from others, and nothing is sent inside a transaction."""

import asyncio
import traceback
import uuid

import asyncpg
import pytest

from shared.boundary import refuse_inside_transaction
from shared.database import pool as pool_module
from shared.database.pool import connect
from shared.faults import TransientFault
from tests.databases import Database
from tests.proxy import Proxy


async def test_a_server_that_is_away_is_a_transient_fault_and_no_reason_not_to_start() -> None:
    """A service that cannot start while its database is away is started again and again, and says nothing of why."""
    async with connect("postgresql://nobody@127.0.0.1:1/none", "codes", 2) as pool:
        assert await pool.state() == "does not answer"
        with pytest.raises(TransientFault):
            async with pool.connection():
                pass


@pytest.mark.parametrize("url", ["nonsense", "postgresql://codes:sec/ret@127.0.0.1/x", "postgresql://h/x?sslmode=none"])
async def test_a_url_that_nobody_can_use_is_said_at_once_and_not_quoted(url: str) -> None:
    """Waiting would not mend it, and the driver's own words hold a part of the password."""
    with pytest.raises(ValueError, match="database URL") as refused:
        async with connect(url, "codes", 2):
            pass
    assert "sec" not in "".join(traceback.format_exception(refused.value)).replace(url, "")


async def test_a_lost_connection_is_a_transient_fault_and_the_pool_recovers(database: Database) -> None:
    admin = await asyncpg.connect(database.admin)
    async with connect(database.codes, "codes", 2) as pool:
        with pytest.raises(TransientFault):
            async with pool.connection() as connection:
                pid = await connection.fetchval("SELECT pg_backend_pid()")
                await admin.execute("SELECT pg_terminate_backend($1)", pid)
                await connection.fetchval("SELECT pg_sleep(5)")
        assert await pool.state() == "ok"
    await admin.close()


async def test_a_server_that_does_not_answer_is_a_transient_fault(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool gives such a connection up on its own; that must not show in place of the fault."""
    monkeypatch.setattr(pool_module, "RELEASE_TIMEOUT_SECONDS", 0.1)
    proxy = Proxy(database.codes)
    async with proxy.running(), connect(proxy.url, "codes", 2) as pool:
        with pytest.raises(TransientFault):
            async with pool.connection() as connection:
                proxy.drops_answers = True
                await connection.fetchval("SELECT 1", timeout=0.1)
        proxy.heal()
        assert await pool.state() == "ok"


async def test_a_lock_that_is_not_given_is_a_transient_fault(database: Database) -> None:
    async with connect(database.codes, "codes", 3) as pool, pool.transaction() as holder:
        await holder.execute("LOCK TABLE programs IN SHARE ROW EXCLUSIVE MODE")
        with pytest.raises(TransientFault):
            async with pool.transaction() as waiter:
                await waiter.execute("SET LOCAL lock_timeout = '20ms'")
                await waiter.execute("LOCK TABLE programs IN SHARE ROW EXCLUSIVE MODE")


async def test_a_pool_without_a_free_connection_is_a_transient_fault(database: Database) -> None:
    async with connect(database.codes, "codes", 2) as pool, pool.connection(), pool.connection():
        with pytest.raises(TransientFault):
            async with pool.connection():
                pass


async def test_a_broken_rule_is_no_transient_fault(database: Database) -> None:
    async with connect(database.codes, "codes", 2) as pool, pool.connection() as connection:
        with pytest.raises(asyncpg.NotNullViolationError):
            await connection.execute("INSERT INTO programs (id) VALUES ($1)", uuid.uuid4())


async def test_an_argument_that_cannot_be_encoded_is_no_transient_fault(database: Database) -> None:
    """Taken for transient it would be tried for ever."""
    async with connect(database.codes, "codes", 2) as pool:
        with pytest.raises(asyncpg.exceptions.DataError):
            async with pool.connection() as connection:
                await connection.fetchval("SELECT $1::int", "x")


async def test_network_clients_refuse_to_run_inside_a_transaction(database: Database) -> None:
    async with connect(database.codes, "codes", 2) as pool:
        async with pool.transaction():
            with pytest.raises(RuntimeError, match="transaction"):
                refuse_inside_transaction("A publish")
            with pytest.raises(RuntimeError, match="transaction"):
                await asyncio.create_task(_send())
        refuse_inside_transaction("A publish")


async def _send() -> None:
    refuse_inside_transaction("A publish")
