"""The connection pool and its transactions; errors of the driver come out of them as `transient_faults` has it.

Every name in SQL is unqualified or a published view: the search path puts a service into its own schema.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import asyncpg
from asyncpg.exceptions import ClientConfigurationError

from shared.boundary import INSIDE_TRANSACTION
from shared.database.faults import DatabaseFault, transient_faults
from shared.database.outage import Outage
from shared.database.sqlstates import Kind

ACQUIRE_TIMEOUT_SECONDS = 2.0
COMMAND_TIMEOUT_SECONDS = 10.0
RELEASE_TIMEOUT_SECONDS = 2.0
CLOSE_TIMEOUT_SECONDS = 5.0
# Also true of a standby, and of a primary whose database or role is set to it.
ONLY_READS = "SELECT current_setting('transaction_read_only')::boolean"

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

_IN_WORDS: Mapping[Kind, str] = {
    "read_only": "only reads",
    "login_refused": "refuses the log-in",
    "database_missing": "does not exist",
    "resources": "has no connection, memory or disk left",
}


class Database:
    """A pool of connections of one service's role, inside its schema."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._outage = Outage(self._look, pool.expire_connections)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for single statements; raises TransientFault when none is free within two seconds."""
        try:
            with transient_faults():
                connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)
            try:
                with transient_faults():
                    yield connection
            finally:
                await self._release(connection)
        except DatabaseFault as fault:
            await self._outage.note(fault.kind)
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection with an open READ COMMITTED transaction; commits at the end, rolls back on any error.

        Raises TransientFault when all of the work is to be tried again; the outcome of a commit may be unknown then.
        """
        async with self.connection() as connection, transaction_of(connection):
            yield connection

    async def state(self) -> str:
        """Say `ok` when the database can be written to now, or in words why not."""
        kind = await self._look()
        if kind in {"unreachable", "shutdown"}:
            # So fails the first who is lent a connection that was lost; what counts is whether another can be had.
            kind = await self._look()
        if kind is None:
            return "ok"
        await self._outage.note(kind)
        return _IN_WORDS.get(kind, "does not answer")

    async def close(self) -> None:
        """Close every connection, within five seconds."""
        await self._outage.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def _look(self) -> Kind | None:
        """Return what keeps the database from being written to, or None."""
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT_SECONDS), self.connection() as connection:
                return "read_only" if await connection.fetchval(ONLY_READS) else None
        except DatabaseFault as fault:
            return fault.kind
        except TimeoutError:
            return "timeout"

    async def _release(self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> None:
        try:
            await self._pool.release(connection, timeout=RELEASE_TIMEOUT_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            # The connection is in doubt; the pool replaces what is terminated. It may have done so itself by now, and
            # says so by an error that must not take the place of the fault.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()


@asynccontextmanager
async def transaction_of(connection: Connection) -> AsyncIterator[None]:
    """Open a READ COMMITTED transaction on a lent connection; commits at the end, rolls back on any error."""
    token = INSIDE_TRANSACTION.set(True)
    try:
        async with connection.transaction():
            yield
    finally:
        INSIDE_TRANSACTION.reset(token)


@asynccontextmanager
async def connect(url: str, schema: str, size: int, *, generic_plans: bool = False) -> AsyncIterator[Database]:
    """Open a pool in the given schema for as long as the block lasts.

    A database that is away, refuses us or only reads keeps nobody from entering: its connections are opened when they
    are needed, and until that works all that needs one ends in a TransientFault. Only a URL that cannot be used is a
    ValueError.

    With `generic_plans` a prepared statement is planned once, not at every call with short arrays (planning costs more
    than running there): for services all of whose statements look their rows up by key, whatever the parameters.
    """
    settings = {**_SERVER_SETTINGS, "search_path": schema, "application_name": f"mintwire {schema}"}
    if generic_plans:
        settings["plan_cache_mode"] = "force_generic_plan"
        # A plan made while a table was nearly empty would read it whole for each lookup, and would be kept until the
        # statistics have noticed how the table grew: a burst on a fresh database would crawl for a minute.
        settings["enable_seqscan"] = "off"
    database = Database(await _create_pool(url, size, settings))
    try:
        await _refuse_unusable(database)
        yield database
    finally:
        await database.close()


async def _create_pool(url: str, size: int, settings: dict[str, str]) -> "asyncpg.Pool[asyncpg.Record]":
    return await asyncpg.create_pool(
        url,
        # With a floor the driver would insist on it at once, and fail where the database does.
        min_size=0,
        max_size=size,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        timeout=5,
        max_inactive_connection_lifetime=300,
        server_settings=settings,
        # The default reset is a second round trip at every release; we keep no session state to reset.
        reset=_no_reset,
    )


async def _refuse_unusable(database: Database) -> None:
    """Use the pool once: to have a connection ready, to say at once what is wrong, and to see that the URL is one."""
    try:
        async with database.connection():
            return
    except DatabaseFault as fault:
        is_unusable = isinstance(fault.__cause__, ClientConfigurationError)
    except ValueError:
        is_unusable = True
    if is_unusable:
        # Without the driver's own text, which may quote the password.
        raise ValueError("The database URL, or a file that it names, cannot be used.")


def affected(status: str) -> int:
    """Return how many rows a statement has written or removed, by what the server says of it."""
    return int(status.rpartition(" ")[2])


def is_usable(connection: Connection) -> bool:
    """Say whether a lent connection is still open, as far as is known here."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # One that was lost has been taken back by its pool.
        return False


async def _no_reset(_: Any) -> None:
    return None
