"""The connection pool and its transactions; `transient_faults` translates the driver's errors.

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
# Also true on a standby, and on a primary whose database or role has this setting.
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


class _RolledBack(Exception):
    """Ends a transaction whose changes must not stay."""


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

        Raises TransientFault when the work is to be repeated as a whole; the outcome of a commit may then be unknown.
        """
        async with self.connection() as connection, transaction_of(connection):
            yield connection

    @asynccontextmanager
    async def dry_run(self) -> AsyncIterator[Connection]:
        """Lend a connection with an open transaction that is rolled back at the end."""
        with suppress(_RolledBack):
            async with self.transaction() as connection:
                yield connection
                raise _RolledBack

    async def state(self) -> str:
        """Return `ok` if the database accepts writes now, or the reason why not."""
        kind = await self._look()
        if kind in {"unreachable", "shutdown"}:
            # The first use of a lost connection fails like this; what counts is whether another connection works.
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
        """Return what prevents writes to the database, or None."""
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
            # The connection is in doubt; the pool replaces terminated ones. The pool may have replaced it by now, and
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

    A database that is away, refuses us or is read-only does not prevent entry: connections are opened when they are
    needed, and until that works, every use ends in a TransientFault. Only an unusable URL is a ValueError.

    With `generic_plans` a prepared statement is planned once, not at every call with short arrays (planning costs more
    than running there): for services whose statements all find their rows by key, whatever the parameters.
    """
    settings = {**_SERVER_SETTINGS, "search_path": schema, "application_name": f"mintwire {schema}"}
    if generic_plans:
        settings["plan_cache_mode"] = "force_generic_plan"
        # A plan made while a table was nearly empty would scan it for each lookup, and would stay until the
        # statistics catch up with the table: a burst on a fresh database would crawl for a minute.
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
        # With a minimum size the driver would connect at once, and fail if the database is away.
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
    """Use the pool once: to have a connection ready, to report at once what is wrong, and to check the URL."""
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
    """Return how many rows a statement has written or removed, from the server's command tag."""
    return int(status.rpartition(" ")[2])


def is_usable(connection: Connection) -> bool:
    """Return whether a lent connection is still open, as far as this process knows."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # The pool has already taken back a lost one.
        return False


async def _no_reset(_: Any) -> None:
    return None
