"""The services as real processes: on a migrated database and a clean broker, on ports of their own, told to stop."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO

import aiohttp
import aiormq

from mintwire.stack import ports
from mintwire.stack.dashboard_keys import account_keys, signing_key
from shared.broker import topology
from tests.databases import SERVICES, Database
from tests.servers import ROOT

OPERATOR_TOKEN = "operator-token-for-tests"
DASHBOARD_SEED = b"the-dashboards-of-all-our-tests-"
SECRET_KEY = "dGVzdC1vbmx5LXRlc3Qtb25seS10ZXN0LW9ubHktMTI="
# One that dies is seen at once; one that is slow to start on a busy machine is not at fault.
READY_SECONDS = 90.0
STOP_SECONDS = 30.0
_SAID_BYTES = 20_000


@dataclass
class RunningService:
    """One process of a service; it can be stopped, killed and started again on its port, from any event loop."""

    name: str
    port: int
    environment: Mapping[str, str]
    log: IO[bytes]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{ports.HOST}:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start the process; it is ready some time later."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"services.{self.name}", "serve"],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    async def ready(self) -> None:
        """Wait until the service says that it is ready."""
        answer = "nothing"
        deadline = time.monotonic() + READY_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while time.monotonic() < deadline:
                assert self.process is not None
                if self.process.poll() is not None:
                    raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.said()}")
                try:
                    async with session.get(f"{self.url}/readyz") as response:
                        answer = await response.text()
                        if response.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError) as error:
                    answer = repr(error)
                await asyncio.sleep(0.05)
        raise AssertionError(f"{self.name} is not ready: {answer}\n{self.said()}")

    async def stop(self) -> int:
        """Send SIGTERM, wait for the end, and return the exit code; one that hangs is killed and reported."""
        assert self.process is not None
        self.process.terminate()
        try:
            return await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop within {STOP_SECONDS:g} s:\n{self.said()}") from None

    def kill(self) -> None:
        """End it without a chance to finish anything."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        """Return the end of its log."""
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), _SAID_BYTES, max(0, size - _SAID_BYTES)).decode(errors="replace")


@dataclass(frozen=True)
class RunningServices:
    """The services of one test, by name, and what a client has to know."""

    database: Database
    broker_urls: Mapping[str, str]
    services: dict[str, RunningService] = field(default_factory=dict)
    operator_token: str = OPERATOR_TOKEN

    def __getitem__(self, name: str) -> RunningService:
        return self.services[name]

    @property
    def urls(self) -> dict[str, str]:
        """Base URL by service."""
        return {name: service.url for name, service in self.services.items()}

    async def ready(self) -> None:
        """Wait until every service says that it is ready."""
        await asyncio.gather(*(service.ready() for service in self.services.values()))

    async def stop(self) -> None:
        """Stop all that run, side by side; one that does not end with 0 is an error, with what it said."""
        running = [service for service in self.services.values() if service.process is not None]
        left = [service for service in running if service.process is not None and service.process.poll() is None]
        codes = await asyncio.gather(*(service.stop() for service in left))
        said = [
            f"{service.name} ended with {code}:\n{service.said()}"
            for service, code in zip(left, codes, strict=True)
            if code
        ]
        assert not said, "\n".join(said)


@asynccontextmanager
async def running_services(
    database: Database,
    broker_urls: Mapping[str, str],
    *,
    names: Iterable[str] = SERVICES,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[RunningServices]:
    """Start the services on this database and broker, wait until each is ready, and stop them at the end.

    `settings` are more variables of theirs, such as `CODES_DATABASE_POOL_SIZE`. The broker's topology has to be there.
    A test may stop, kill and start any of them; what is still running at the end has to stop with code 0.
    """
    running = RunningServices(database, broker_urls)
    with ExitStack() as logs:
        taken: dict[str, int] = {}
        for name in names:
            taken[name] = ports.free_port(taken=taken.values())
        for name, port in taken.items():
            environment = {**_environment(name, taken, database, broker_urls), **(settings or {})}
            running.services[name] = RunningService(name, port, environment, logs.enter_context(TemporaryFile()))
        try:
            for service in running.services.values():
                service.start()
            await running.ready()
            yield running
            await running.stop()
        finally:
            for service in running.services.values():
                service.kill()


async def empty_broker(operator_url: str) -> None:
    """Declare the topology afresh, so that every queue is empty."""
    connection = await aiormq.connect(operator_url)
    try:
        channel = await connection.channel()
        for queue in topology.QUEUES:
            await channel.queue_delete(queue.name)
        for exchange in topology.EXCHANGES:
            await channel.exchange_delete(exchange.name)
    finally:
        await connection.close()
    await topology.declare(operator_url)


def _environment(
    name: str, taken: Mapping[str, int], database: Database, broker_urls: Mapping[str, str]
) -> dict[str, str]:
    prefix = name.upper()
    urls = {each: f"http://{ports.HOST}:{port}" for each, port in taken.items()}
    if name == "dashboard":
        return {
            "DASHBOARD_PORT": str(taken[name]),
            "DASHBOARD_PUBLIC_URL": urls[name],
            "DASHBOARD_DATABASE_URL": database.role(name),
            "DASHBOARD_LOG_FORMAT": "console",
            "DASHBOARD_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "DASHBOARD_SIGNING_KEY": signing_key(DASHBOARD_SEED),
            **{f"DASHBOARD_{each.upper()}_URL": url for each, url in urls.items() if each != name},
        }
    return {
        f"{prefix}_ACCOUNT_KEYS": account_keys(DASHBOARD_SEED),
        f"{prefix}_ENVIRONMENT": "development",
        f"{prefix}_HOST": ports.HOST,
        f"{prefix}_PORT": str(taken[name]),
        f"{prefix}_DATABASE_URL": database.role(name),
        f"{prefix}_AMQP_URL": broker_urls[name],
        f"{prefix}_LOG_FORMAT": "console",
        f"{prefix}_DATABASE_POOL_SIZE": "4",
        f"{prefix}_OPERATOR_TOKEN": OPERATOR_TOKEN,
        "CODES_SECRET_KEY": SECRET_KEY,
        "REDEMPTION_SECRET_KEY": SECRET_KEY,
        # Without that service nothing listens at the discard port.
        "CODES_REDEMPTION_URL": f"http://{ports.HOST}:{taken.get('redemption', 9)}",
        "WEBHOOKS_SECRET_KEY": SECRET_KEY,
    }
