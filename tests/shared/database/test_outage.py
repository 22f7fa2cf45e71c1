"""A database that is there and will not (it only reads, or refuses log-ins) is named, and used again as it recovers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from yarl import URL

from shared.database import pool as pool_module
from shared.database.faults import DatabaseFault
from shared.database.pool import Database as Pool
from shared.database.pool import connect
from tests.databases import Database, own_roles

WRITE = "UPDATE programs SET name = name"
READ = "SELECT count(*) FROM programs"
# Nobody waits so long unless something is wrong; that a service recovers within three seconds is held by the bystanders
# of tests/system.
DEADLINE_SECONDS = 30.0


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """The superuser, who may write whatever the database is set to."""
    connection = await asyncpg.connect(database.admin, server_settings={"default_transaction_read_only": "off"})
    yield connection
    await connection.close()


@pytest.fixture
async def url(database: Database) -> AsyncIterator[str]:
    """The URL of a role of this test's own; its name is in `role`."""
    async with own_roles(database) as urls:
        yield urls["codes"]


@pytest.fixture
def role(url: str) -> str:
    """The name of that role."""
    return str(URL(url).user)


async def write(pool: Pool) -> None:
    async with pool.transaction() as connection:
        await connection.execute(WRITE)


async def kind_of_write(pool: Pool) -> str:
    """Write and return the kind of the fault that it ended in."""
    with pytest.raises(DatabaseFault) as fault:
        await write(pool)
    return fault.value.kind


async def until_it_writes(pool: Pool) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return await write(pool)
            except DatabaseFault:
                await asyncio.sleep(0.05)


async def until_said(pool: Pool, words: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await pool.state() != words:  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.05)


async def settled(pool: Pool) -> None:
    """Wait until nobody looks at the database any more, since it works; nobody has to if no fault was noted."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        if pool._outage._watching is not None:
            await asyncio.wait({pool._outage._watching})


async def until_failing(kind: str) -> None:
    """Wait until the pool has looked for itself and counts this kind."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while failing(kind) != 1:  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.01)


def failing(kind: str) -> float:
    return REGISTRY.get_sample_value("mintwire_database_failing", {"kind": kind}) or 0.0


async def only_read(admin: asyncpg.Connection, database: Database) -> None:
    """Do as a failover to a standby does: sessions are lost, and new ones only read."""
    await admin.execute(f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on')
    await end_sessions(admin)


async def write_again(admin: asyncpg.Connection, database: Database) -> None:
    await admin.execute(f'ALTER DATABASE "{database.name}" RESET default_transaction_read_only')


async def end_sessions(admin: asyncpg.Connection) -> None:
    await admin.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = $1",
        "mintwire_codes",
    )


async def test_a_database_that_only_reads_is_named_read_from_and_written_to_again(
    database: Database, admin: asyncpg.Connection
) -> None:
    """The sessions opened meanwhile would only read for as long as they live: they have to be replaced."""
    async with connect(database.codes, "codes", 4) as pool:
        await write(pool)
        await only_read(admin, database)
        with capture_logs() as logs:
            await until_said(pool, "only reads")
            assert await kind_of_write(pool) == "read_only"
            async with pool.connection() as one, pool.connection() as two:
                assert await one.fetchval(READ) == await two.fetchval(READ) == 0
            await until_failing("read_only")

            await write_again(admin, database)
            await until_it_writes(pool)
            # However many there are, none is left that only reads.
            await asyncio.gather(*(until_it_writes(pool) for _ in range(4)))
            await until_said(pool, "ok")
            await settled(pool)
    told = [(line["event"], line["kind"]) for line in logs if line["event"].startswith("database_")]
    assert told.count(("database_failed", "read_only")) == 1
    assert told.count(("database_recovered", "read_only")) == 1


async def test_a_session_that_alone_only_reads_is_replaced(database: Database, admin: asyncpg.Connection) -> None:
    """As one tied to a demoted primary, while new ones get to the new primary."""
    await admin.execute(f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on')
    async with connect(database.codes, "codes", 1) as pool:
        await write_again(admin, database)
        assert await kind_of_write(pool) == "read_only"
        await write(pool)


async def test_a_log_in_that_is_refused_is_named_and_leaves_the_sessions_that_work(
    admin: asyncpg.Connection, url: str, role: str
) -> None:
    """They may be the last for as long as it lasts."""
    async with connect(url, "codes", 2) as pool:
        pid = await backend(pool)
        await admin.execute(f'ALTER ROLE "{role}" NOLOGIN')
        async with pool.connection():
            assert await kind_of_write(pool) == "login_refused"
        assert await backend(pool) == pid
        assert await pool.state() == "ok"
        await settled(pool)

        await admin.execute("SELECT pg_terminate_backend($1)", pid)
        with capture_logs() as logs:
            await until_said(pool, "refuses the log-in")
            assert await kind_of_write(pool) == "login_refused"
            await until_failing("login_refused")
            await admin.execute(f'ALTER ROLE "{role}" LOGIN')
            await until_it_writes(pool)
            await settled(pool)
    told = [line["event"] for line in logs if line.get("kind") == "login_refused"]
    assert told == ["database_failed", "database_recovered"]


@pytest.mark.parametrize("change", ["NOLOGIN", "PASSWORD 'rotated'"])
async def test_a_pool_that_opens_while_log_ins_are_refused_works_as_soon_as_they_are_not(
    admin: asyncpg.Connection, url: str, role: str, change: str
) -> None:
    """Else the service would die at its start, again and again."""
    await admin.execute(f'ALTER ROLE "{role}" {change}')
    async with connect(url, "codes", 2) as pool:
        assert await pool.state() == "refuses the log-in"
        assert await kind_of_write(pool) == "login_refused"
        await admin.execute(f"ALTER ROLE \"{role}\" LOGIN PASSWORD 'first'")
        await until_it_writes(pool)


async def test_a_database_that_is_not_there_is_named(database: Database) -> None:
    async with connect(f"{database.codes}_restored", "codes", 2) as pool:
        assert await pool.state() == "does not exist"


async def test_one_lost_connection_is_no_outage(database: Database, admin: asyncpg.Connection) -> None:
    """Every restart of a proxy would be told as one."""
    async with connect(database.codes, "codes", 2) as pool:
        pid = await backend(pool)
        await admin.execute("SELECT pg_terminate_backend($1)", pid)
        with capture_logs() as logs:
            # The pool may have noticed before, and lend another.
            with contextlib.suppress(DatabaseFault):
                await write(pool)
            await settled(pool)
    assert not logs


async def test_closing_ends_the_look_at_a_database_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "ACQUIRE_TIMEOUT_SECONDS", 0.5)
    async with connect("postgresql://nobody@127.0.0.1:1/none", "codes", 2) as pool:
        await asyncio.sleep(0)
        watching = pool._outage._watching
    assert watching is not None
    assert watching.done()
    assert failing("unreachable") == 0


async def backend(pool: Pool) -> int:
    async with pool.connection() as connection:
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
    return pid
