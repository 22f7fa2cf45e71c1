"""Servers and programs of one benchmark run: private PostgreSQL and RabbitMQ, the product's services, bare programs."""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from mintwire.stack import processes
from mintwire.stack.servers import Servers

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".bench-run"
LOGS = FOLDER / "logs"
OPERATOR_TOKEN = secrets.token_urlsafe(24)
SERVICES = ("codes", "redemption", "webhooks")
# More than any scenario writes between two checkpoints of the server.
_LOG_MEBIBYTES = 1024
_SECRET_KEY = base64.b64encode(secrets.token_bytes(32)).decode()


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def records(logs: Path) -> Path:
    """Return the folder with the records of the programs whose logs are in a folder."""
    return logs / "running"


@contextlib.contextmanager
def watched(servers: Path, logs: Path = LOGS) -> Iterator[None]:
    """End the servers of one folder and the programs of another, even if this process is killed."""
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "bench.watchdog", servers, logs],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        # Ctrl-C is for this process, which then ends everything itself.
        start_new_session=True,
    )
    try:
        yield
    finally:
        watchdog.communicate()


class Program:
    """A child process that prints `ready` on its first line, or answers /readyz."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str] | None = None, *, log: Path) -> None:
        self.log = log
        with log.open("ab") as written:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdout=subprocess.PIPE if environment is None else written,
                stderr=written,
                text=True,
            )
        folder = records(log.parent)
        folder.mkdir(exist_ok=True)
        self._record = folder / f"{self.process.pid}.json"
        if (described := processes.record_of(self.process.pid)) is not None:
            processes.save(self._record, described)

    def wait_for_line(self) -> str:
        """Return the next line that the program prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def report(self) -> dict[str, Any]:
        """Ask for a report by signal and read it."""
        self.process.send_signal(signal.SIGUSR1)
        report: dict[str, Any] = json.loads(self.wait_for_line())
        return report

    def forget(self) -> None:
        """Reset the counts of a receiver; signals are handled in order."""
        self.process.send_signal(signal.SIGUSR2)
        time.sleep(0.05)

    def pause(self) -> None:
        """Suspend the process."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Resume a suspended process."""
        self.process.send_signal(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def end(self) -> None:
        """End the process, by force if it does not."""
        self.go_on()
        self.process.terminate()
        try:
            self.process.wait(25)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._record.unlink(missing_ok=True)


def wait_ready(url: str, program: Program, seconds: float = 60) -> None:
    """Wait until a service answers /readyz with 200."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(url + "/readyz", timeout=2) as answer:  # noqa: S310 - our own loopback address
            if answer.status == 200:
                return
        if program.process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"{url} did not become ready; its log is {program.log}.")


BENCH_PROGRAM = {"name": "Bench", "link_url": "https://shop.example/"}


def call(method: str, url: str, token: str, body: object = None) -> Any:
    """Call one of the product's HTTP APIs and return the decoded answer."""
    request = urllib.request.Request(  # noqa: S310 - our own loopback addresses
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own loopback address
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {url}: {error.code} {error.read().decode()}") from None


class Environment:
    """The private servers, migrated, with the product's services started on demand."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.logs = LOGS
        self.logs.mkdir(parents=True, exist_ok=True)
        self.urls = {service: f"http://127.0.0.1:{free_port()}" for service in SERVICES}
        self._passwords = {service: secrets.token_urlsafe(16) for service in SERVICES}

    @property
    def database_url(self) -> str:
        """The superuser's URL."""
        return self.servers.database_url

    @property
    def amqp_url(self) -> str:
        """The operator's URL."""
        return self.servers.broker_url("operator")

    def settings(self, service: str) -> dict[str, str]:
        """Return a service's environment variables."""
        address = self.database_url.partition("@")[2]
        prefix = service.upper()
        settings = {
            "ENVIRONMENT": "development",
            "PORT": self.urls[service].rpartition(":")[2],
            "DATABASE_URL": f"postgresql://mintwire_{service}:{self._passwords[service]}@{address}",
            "ADMIN_DATABASE_URL": self.database_url,
            "AMQP_URL": self.servers.broker_url(service),
            "ADMIN_AMQP_URL": self.amqp_url,
            "OPERATOR_TOKEN": OPERATOR_TOKEN,
            "SECRET_KEY": _SECRET_KEY,
            "REDEMPTION_URL": self.urls["redemption"],
        }
        return {f"{prefix}_{name}": value for name, value in settings.items()}

    def migrate(self) -> None:
        """Migrate the database and declare the broker's topology."""
        for service in SERVICES:
            subprocess.run(
                [sys.executable, "-m", f"services.{service}", "migrate"],
                cwd=ROOT,
                env={**os.environ, **self.settings(service)},
                check=True,
                stdout=subprocess.DEVNULL,
            )

    def age(self) -> None:
        """Fill the database's write-ahead log, as on a server that has run for a while and reuses its files.

        A new server creates each file of 16 MiB when it is needed, which delayed writers for 15 to 40 ms, more often
        the more is written; that would measure the age of the server.
        """

        async def work() -> None:
            connection = await asyncpg.connect(self.database_url)
            try:
                for _ in range(_LOG_MEBIBYTES):
                    await connection.execute("SELECT pg_logical_emit_message(false, 'bench', repeat('x', 1048576))")
                await connection.execute("CHECKPOINT")
            finally:
                await connection.close()

        asyncio.run(work())

    @contextlib.contextmanager
    def service(self, name: str) -> Iterator[Program]:
        """Run one of the product's services for as long as the block lasts."""
        program = Program([f"services.{name}", "serve"], self.settings(name), log=self.logs / f"{name}.log")
        try:
            wait_ready(self.urls[name], program)
            yield program
        finally:
            program.end()

    @contextlib.contextmanager
    def replica(self, name: str) -> Iterator[str]:
        """Run one more process of a service on a port of its own; yields its URL."""
        port = free_port()
        settings = {**self.settings(name), f"{name.upper()}_PORT": str(port)}
        program = Program([f"services.{name}", "serve"], settings, log=self.logs / f"{name}-{port}.log")
        try:
            wait_ready(f"http://127.0.0.1:{port}", program)
            yield f"http://127.0.0.1:{port}"
        finally:
            program.end()

    @contextlib.contextmanager
    def bare(self, *arguments: str) -> Iterator[Program]:
        """Run a bare program for as long as the block lasts."""
        program = Program(list(arguments), log=self.logs / "bare.log")
        try:
            if program.wait_for_line() != "ready\n":
                raise SystemExit(f"{arguments[0]} did not start; its log is {program.log}.")
            yield program
        finally:
            program.end()


@contextlib.contextmanager
def environment() -> Iterator[Environment]:
    """Start the servers in a new folder and stop them at the end."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    servers = Servers(FOLDER)
    with watched(FOLDER), servers:
        try:
            made = Environment(servers)
            made.migrate()
            made.age()
            yield made
        finally:
            servers.stop()
    servers.remove()
