"""The connection pool and its transactions; errors of the driver come out of them as `transient_faults` has it.

Every name in SQL is unqualified or a published view: the search path puts a service into its own schema.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import asyncpg

from shared.boundary import INSIDE_TRANSACTION
from shared.database.faults import transient_faults
from shared.faults import TransientFault

ACQUIRE_TIMEOUT_SECONDS = 2.0
COMMAND_TIMEOUT_SECONDS = 10.0
RELEASE_TIMEOUT_SECONDS = 2.0
PING = "SELECT 1"

# As text: the driver's classes take a parameter in their stubs only.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_SERVER_SETTINGS = {
    "statement_timeout": "8000",
    "lock_timeout": "4000",
    "idle_in_transaction_session_timeout": "10000",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "timezone": "UTC",
    # Our statements are short; compiling them would cost more than running them.
    "jit": "off",
}


class Database:
    """A pool of connections of one service's role, inside its schema."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for single statements; raises TransientFault when none is free within two seconds."""
        with transient_faults():
            connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)
        try:
            with transient_faults():
                yield connection
        finally:
            await self._release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection with an open READ COMMITTED transaction; commits at the end, rolls back on any error.

        Raises TransientFault when all of the work is to be tried again; the outcome of a commit may be unknown then.
        """
        async with self.connection() as connection:
            token = INSIDE_TRANSACTION.set(True)
            try:
                async with connection.transaction():
                    yield connection
            finally:
                INSIDE_TRANSACTION.reset(token)

    async def is_reachable(self) -> bool:
        """Say whether a trivial statement is answered."""
        try:
            async with asyncio.timeout(2), self.connection() as connection:
                await connection.execute(PING)
        except (TransientFault, TimeoutError):
            return False
        return True

    async def _release(self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> None:
        try:
            await self._pool.release(connection, timeout=RELEASE_TIMEOUT_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            # The connection is in doubt; the pool replaces what is terminated. It may have done so itself by now, and
            # says so by an error that must not take the place of the fault.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()


@asynccontextmanager
async def connect(url: str, schema: str, size: int, *, generic_plans: bool = False) -> AsyncIterator[Database]:
    """Open a pool in the given schema for as long as the block lasts; see `create_pool`."""
    pool = await create_pool(url, schema, size, generic_plans=generic_plans)
    try:
        yield Database(pool)
    finally:
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except TimeoutError:
            pool.terminate()


async def create_pool(
    url: str, schema: str, size: int, *, generic_plans: bool = False
) -> "asyncpg.Pool[asyncpg.Record]":
    """Create the pool; raises TransientFault if the server cannot be reached.

    With `generic_plans` a prepared statement is planned once, not at every call with short arrays (planning costs more
    than running there): for services all of whose statements look their rows up by key, whatever the parameters.
    """
    settings = {**_SERVER_SETTINGS, "search_path": schema}
    if generic_plans:
        settings["plan_cache_mode"] = "force_generic_plan"
        # A plan made while a table was nearly empty would read it whole for each lookup, and would be kept until the
        # statistics have noticed how the table grew: a burst on a fresh database would crawl for a minute.
        settings["enable_seqscan"] = "off"
    with transient_faults():
        return await asyncpg.create_pool(
            url,
            min_size=min(2, size),
            max_size=size,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            timeout=5,
            max_inactive_connection_lifetime=300,
            server_settings=settings,
            # The default reset is a second round trip at every release; we keep no session state to reset.
            reset=_no_reset,
        )


def is_usable(connection: Connection) -> bool:
    """Say whether a lent connection is still open, as far as is known here."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # One that was lost has been taken back by its pool.
        return False


async def _no_reset(_: Any) -> None:
    return None
