"""Applies numbered SQL files, forward only, one schema per service; safe to start from several places at once.

A file is applied once, in a transaction of its own, and its content is pinned: a file changed after it was applied is
an error. One that cannot run inside a transaction (CREATE INDEX CONCURRENTLY) says so in its first line.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg

from shared.database.faults import DatabaseFault, transient_faults
from shared.faults import TransientFault
from shared.log import get_logger

ROLES = ("mintwire_codes", "mintwire_redemption", "mintwire_webhooks", "mintwire_dashboard")
NO_TRANSACTION = "-- no transaction"
SHARED_FOLDER = Path(__file__).parent / "sql"
# To a service these faults are transient; here the operator is present, the only one who can fix them.
_REFUSALS: Final = frozenset({"read_only", "login_refused", "database_missing", "schema_differs", "permission_missing"})
_LOCK_KEY = 7_236_001
_LOCK_WAIT_SECONDS = 120

# The lock is polled: a blocking wait would hold a snapshot and deadlock with CREATE INDEX CONCURRENTLY.
TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS public.mintwire_migrations (
    schema_name text NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schema_name, name))
"""
READ_LEDGER = "SELECT name, sha256 FROM public.mintwire_migrations WHERE schema_name = $1"
WRITE_LEDGER = "INSERT INTO public.mintwire_migrations (schema_name, name, sha256) VALUES ($1, $2, $3)"
SET_SEARCH_PATH = "SELECT set_config('search_path', $1, false)"
# Identifiers cannot be parameters, so the server itself quotes them into these statements.
QUOTE_CREATE_SCHEMA = "SELECT format('CREATE SCHEMA IF NOT EXISTS %I', $1::text)"
QUOTE_CREATE_ROLE = "SELECT format('CREATE ROLE %I NOLOGIN', $1::text)"
QUOTE_SET_LOGIN = "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
QUOTE_GRANT_CONNECT = "SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), $1::text)"
QUOTE_REVOKE_PUBLIC = "SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database())"
# PostgreSQL lets every role connect to every database unless PUBLIC loses that right, database by database.
FIND_OPEN_DATABASES = """
SELECT datname AS name, pg_has_role(datdba, 'USAGE') AS is_ours
FROM pg_database
WHERE datallowconn AND datname <> current_database() AND has_database_privilege('public', oid, 'CONNECT')
ORDER BY datname
"""
# Superusers need no right to connect, and the owner of a database has its own.
HAS_STRANGERS = """
SELECT EXISTS (
    SELECT 1 FROM pg_roles
    WHERE rolcanlogin AND NOT rolsuper AND rolname <> current_user AND rolname <> ALL ($1::text[]))
"""
QUOTE_REVOKE_CONNECT = "SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', $1::text)"
FIND_ROLE = "SELECT 1 FROM pg_roles WHERE rolname = $1"
# Session settings of the migrating connection: do not wait long for a lock that live traffic holds.
SET_TIMEOUTS = "SELECT set_config('lock_timeout', '5s', false), set_config('statement_timeout', '300s', false)"


class MigrationError(Exception):
    """The migrations cannot be applied; the message says why."""


class LoginRefused(MigrationError):
    """The database refuses the operator's user or password."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file with the digest of its content."""

    name: str
    sql: str
    sha256: str


def read_migrations(folder: Path, prefix: str) -> list[Migration]:
    """Read the numbered files of a folder in order; `prefix` distinguishes folders in the ledger."""
    found = []
    for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql")):
        content = path.read_bytes()
        found.append(Migration(f"{prefix}/{path.stem}", content.decode(), hashlib.sha256(content).hexdigest()))
    return found


async def migrate(
    admin_url: str, service_url: str, *, schema: str, role: str, folder: Path, has_events: bool = True
) -> list[str]:
    """Bring one service's schema and login role up to date and return the names of the files applied now.

    A service that has no events does not get their tables.

    Raises MigrationError, TransientFault, and what a file's own statements raise.
    """
    shared = read_migrations(SHARED_FOLDER, "shared") if has_events else []
    migrations = [*shared, *read_migrations(folder, schema)]
    with _explained():
        return await _migrate(admin_url, service_url, schema, role, migrations)


async def _migrate(
    admin_url: str, service_url: str, schema: str, role: str, migrations: Sequence[Migration]
) -> list[str]:
    connection = await _connect(admin_url)
    try:
        await _take_lock(connection)
        await connection.execute(SET_TIMEOUTS)
        await _ensure_roles(connection, role, service_url)
        await _confine_roles(connection)
        # arch: allow-built-sql: quoted by the server
        await connection.execute(await connection.fetchval(QUOTE_CREATE_SCHEMA, schema))
        await connection.execute(CREATE_LEDGER)
        await connection.fetchval(SET_SEARCH_PATH, schema)
        return await _apply(connection, schema, migrations)
    finally:
        await connection.close()


@contextmanager
def _explained() -> Iterator[None]:
    """Raise one sentence on what the operator has to fix (MigrationError) or wait for (TransientFault)."""
    try:
        with transient_faults():
            yield
    except DatabaseFault as fault:
        reason = str(fault.__cause__) or str(fault)
        if fault.kind == "login_refused":
            raise LoginRefused(f"The database refuses the log-in: {reason}.") from fault
        if fault.kind in _REFUSALS:
            raise MigrationError(f"The database refuses: {reason}.") from fault
        raise TransientFault(f"The database does not answer or is busy: {reason}.") from fault


async def _connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    try:
        return await asyncpg.connect(url, timeout=10)
    except ValueError:
        # Without the driver's own text, which may quote the password.
        raise MigrationError("A database URL cannot be read.") from None


async def _take_lock(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with asyncio.timeout(_LOCK_WAIT_SECONDS):
        while not await connection.fetchval(TRY_LOCK, _LOCK_KEY):  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.1)


async def _apply(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, migrations: Sequence[Migration]
) -> list[str]:
    applied = {row["name"]: row["sha256"] for row in await connection.fetch(READ_LEDGER, schema)}
    done = []
    for migration in migrations:
        if migration.name in applied:
            if applied[migration.name] != migration.sha256:
                raise MigrationError(f"{migration.name} was changed after it had been applied.")
            continue
        if migration.sql.startswith(NO_TRANSACTION):
            await connection.execute(migration.sql)  # arch: allow-built-sql: the content of a reviewed file
            await connection.execute(WRITE_LEDGER, schema, migration.name, migration.sha256)
        else:
            async with connection.transaction():
                await connection.execute(migration.sql)  # arch: allow-built-sql: the content of a reviewed file
                await connection.execute(WRITE_LEDGER, schema, migration.name, migration.sha256)
        get_logger().info("migration_applied", migration=migration.name)
        done.append(migration.name)
    return done


async def _ensure_roles(connection: "asyncpg.Connection[asyncpg.Record]", role: str, service_url: str) -> None:
    parts = urlsplit(service_url)
    if parts.username != role:
        raise MigrationError(f"The service's database URL must log in as {role}, not as {parts.username}.")
    for name in ROLES:
        if not await connection.fetchval(FIND_ROLE, name):
            await _run_shared(connection, await connection.fetchval(QUOTE_CREATE_ROLE, name))
    if not await _can_log_in(service_url):
        await _run_shared(connection, await connection.fetchval(QUOTE_SET_LOGIN, role, unquote(parts.password or "")))
    await _run_shared(connection, await connection.fetchval(QUOTE_REVOKE_PUBLIC))
    await _run_shared(connection, await connection.fetchval(QUOTE_GRANT_CONNECT, role))


async def _confine_roles(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Keep our roles out of the server's other databases, unless other roles may depend on the right to connect."""
    found = await connection.fetch(FIND_OPEN_DATABASES)
    has_strangers = bool(found) and await connection.fetchval(HAS_STRANGERS, ROLES)
    left = []
    for row in found:
        if has_strangers or not row["is_ours"]:
            left.append(row["name"])
            continue
        # The database may have been dropped meanwhile.
        with suppress(asyncpg.InvalidCatalogNameError):
            await _run_shared(connection, await connection.fetchval(QUOTE_REVOKE_CONNECT, row["name"]))
    if left:
        get_logger().warning("roles_not_confined", databases=left, reason="others use this server, or own the database")


async def _can_log_in(url: str) -> bool:
    try:
        connection = await _connect(url)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError):
        return False
    except asyncpg.InsufficientPrivilegeError:
        return True
    await connection.close()
    return True


async def _run_shared(connection: "asyncpg.Connection[asyncpg.Record]", statement: str) -> None:
    """Run a statement on an object of the whole cluster, which another database's migration may be changing."""
    for attempt in range(20):
        try:
            await connection.execute(statement)  # arch: allow-built-sql: quoted by the server
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
            return
        except asyncpg.InternalServerError as error:
            if "concurrently updated" not in str(error) or attempt == 19:
                raise
            await asyncio.sleep(0.05 * (attempt + 1))
        else:
            return
