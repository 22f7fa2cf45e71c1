"""Databases for tests: a migrated template made once per run, and a clone of it for each test."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import asyncpg

from mintwire.stack.dashboard_keys import signing_key
from tests.servers import ROOT, RunningServers, locked

SERVICES = ("codes", "redemption", "webhooks")
# All that have a schema; the dashboard has neither events nor a broker.
SCHEMAS = (*SERVICES, "dashboard")
# One constant per login role; the server listens on loopback and lives as long as the run.
ROLE_PASSWORDS = {service: f"{service}-test" for service in SCHEMAS}


@dataclass(frozen=True)
class Database:
    """One database of its own: the superuser's URL, and a URL per service's login role."""

    name: str
    admin: str

    @property
    def codes(self) -> str:
        return self.role("codes")

    @property
    def redemption(self) -> str:
        return self.role("redemption")

    @property
    def dashboard(self) -> str:
        return self.role("dashboard")

    @property
    def webhooks(self) -> str:
        return self.role("webhooks")

    def role(self, service: str) -> str:
        """Return the URL by which a service logs in."""
        address = urlsplit(self.admin).netloc.rpartition("@")[2]
        return f"postgresql://mintwire_{service}:{ROLE_PASSWORDS[service]}@{address}/{self.name}"


def named(server_url: str, name: str) -> Database:
    """Describe the database of that name on the server."""
    return Database(name, urlsplit(server_url)._replace(path=f"/{name}").geturl())


def migrated_template(run: Path, servers: RunningServers, vhost: str) -> Database:
    """Return the run's template, made by the services' own migrate commands if no process of the run has done so."""
    template = named(servers.database_url, f"template_{run.name}")
    done = run / "template-is-migrated"
    with locked(run / "template-lock"):
        if not done.exists():
            asyncio.run(_execute(servers.database_url, *_creation(template.name, None)))
            for service in SCHEMAS:
                migrate(service, template, servers, vhost)
            done.touch()
    return template


def migrate(service: str, database: Database, servers: RunningServers, vhost: str) -> None:
    """Run one service's migrate command against the database."""
    finished = subprocess.run(
        [sys.executable, "-m", f"services.{service}", "migrate"],
        env=os.environ | migrate_environment(service, database, servers, vhost),
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, f"{service} migrate failed:\n{finished.stdout}{finished.stderr}"


def migrate_environment(service: str, database: Database, servers: RunningServers, vhost: str) -> dict[str, str]:
    """Return the service's settings for this database and vhost."""
    prefix = service.upper()
    broker = (
        {
            f"{prefix}_AMQP_URL": servers.broker_url(service, vhost),
            f"{prefix}_ADMIN_AMQP_URL": servers.broker_url("operator", vhost),
        }
        if service in SERVICES
        else {}
    )
    return {
        **broker,
        "DASHBOARD_SIGNING_KEY": signing_key(b"dashboard-key-of-the-tests------"),
        f"{prefix}_ENVIRONMENT": "development",
        f"{prefix}_DATABASE_URL": database.role(service),
        f"{prefix}_ADMIN_DATABASE_URL": database.admin,
        f"{prefix}_LOG_FORMAT": "console",
        "CODES_OPERATOR_TOKEN": "operator-token-for-tests",
        "REDEMPTION_SECRET_KEY": "dGVzdC1vbmx5LXRlc3Qtb25seS10ZXN0LW9ubHktMTI=",
        "CODES_SECRET_KEY": "dGVzdC1vbmx5LXRlc3Qtb25seS10ZXN0LW9ubHktMTI=",
        "WEBHOOKS_SECRET_KEY": "dGVzdC1vbmx5LXRlc3Qtb25seS10ZXN0LW9ubHktMTI=",
        f"{prefix}_PORT": "1",
    }


@asynccontextmanager
async def new_database(server_url: str, template: str | None = None) -> AsyncIterator[Database]:
    """Create a database, empty or cloned with the rights of its template, and drop it at the end."""
    database = named(server_url, f"test_{uuid.uuid4().hex}")
    administrator = _administrator(server_url)
    await administrator.execute(*_creation(database.name, template))
    try:
        yield database
    finally:
        await administrator.execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')


def close_administrators() -> None:
    """End this process's lasting connections."""
    while _administrators:
        _administrators.popitem()[1].close()


@asynccontextmanager
async def own_roles(database: Database) -> AsyncIterator[dict[str, str]]:
    """Give each service a role that belongs to this database alone, with the rights of its own; URLs by service.

    The services' own roles belong to the whole server, and so to every test that runs.
    """
    address = urlsplit(database.admin).netloc.rpartition("@")[2]
    roles = {service: f"{database.name}_{service}" for service in SERVICES}
    for service, role in roles.items():
        await _execute(
            database.admin,
            f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'first' IN ROLE mintwire_{service}",
            f'GRANT CONNECT ON DATABASE "{database.name}" TO "{role}"',
        )
    try:
        yield {service: f"postgresql://{role}:first@{address}/{database.name}" for service, role in roles.items()}
    finally:
        for role in roles.values():
            await _execute(database.admin, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


class _Administrator:
    """One lasting connection to a server. It costs as much to make as half a database.

    It lives on a thread of its own, since a connection belongs to one event loop and each test has another.
    """

    def __init__(self, server_url: str) -> None:
        self._url = server_url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def execute(self, *statements: str) -> None:
        """Execute the statements one after the other, each in a transaction of its own."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._execute(statements), self._loop))

    def close(self) -> None:
        """Close the connection and end the thread."""
        if self._connection is not None:
            asyncio.run_coroutine_threadsafe(self._connection.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _execute(self, statements: Sequence[str]) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await _connected(self._url)
        for statement in statements:
            await self._connection.execute(statement)


_administrators: dict[str, _Administrator] = {}


def _administrator(server_url: str) -> _Administrator:
    if server_url not in _administrators:
        _administrators[server_url] = _Administrator(server_url)
    return _administrators[server_url]


def _creation(name: str, template: str | None) -> tuple[str, ...]:
    if template is None:
        return f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"'
    # Rights on a database are not part of what a template hands down.
    roles = ", ".join(f"mintwire_{service}" for service in SCHEMAS)
    return (
        f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY',
        f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC; GRANT CONNECT ON DATABASE "{name}" TO {roles}',
    )


async def _execute(server_url: str, *statements: str) -> None:
    connection = await _connected(server_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _connected(server_url: str) -> "asyncpg.Connection[asyncpg.Record]":
    # A test may have left its database so that it only reads.
    return await asyncpg.connect(server_url, server_settings={"default_transaction_read_only": "off"})
