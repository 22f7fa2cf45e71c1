"""The command against real services: one set of them for this folder, and a program with a partner for each test."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cyclopts import CycloptsError

from mintwire.__main__ import app
from tests.conftest import NewDatabase
from tests.databases import SCHEMAS
from tests.running import RunningServices, empty_broker, running_services
from tests.servers import ROOT, RunningServers

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Finished:
    """The result of a command: its exit code, its output and its error output."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Mintwire:
    """Runs the command with the test's own environment."""

    def __init__(self, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.environment = environment
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    async def __call__(self, *arguments: str, code: int | None = 0) -> Finished:
        """Run it in this process and expect the exit code, unless that is None."""
        self.tell()
        self._capsys.readouterr()
        ended = None
        try:
            await app.run_async(arguments)
        except SystemExit as exit_:
            ended = exit_.code
        except CycloptsError:
            # As the command's `main` ends.
            ended = 2
        out, err = self._capsys.readouterr()
        finished = Finished(int(ended or 0), out, err)
        assert code in (None, finished.code), finished
        assert "Traceback" not in err
        return finished

    def tell(self) -> None:
        """Set the command's settings in this process's environment."""
        for name in [name for name in os.environ if name.startswith("MINTWIRE_") and name != "MINTWIRE_TEST_RUN"]:
            self._monkeypatch.delenv(name)
        for name, value in self.environment.items():
            self._monkeypatch.setenv(name, value)

    async def json(self, *arguments: str, code: int = 0) -> Any:
        """Run it with `--json` and return what it printed."""
        return (await self(*arguments, "--json", code=code)).json

    @asynccontextmanager
    async def started(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start it as a process, and kill it at the end if it is still running."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mintwire", *arguments),
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@dataclass(frozen=True)
class Merchant:
    """A program with a key, and an active partner of it with quota and a key."""

    program_id: str
    program_key: str
    partner_id: str
    partner_key: str


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def services(new_migrated_database: NewDatabase, broker_urls: dict[str, str]) -> AsyncIterator[RunningServices]:
    """All services, running for all tests of this folder; a test leaves them as it found them."""
    await empty_broker(broker_urls["operator"])
    async with new_migrated_database() as database, running_services(database, broker_urls, names=SCHEMAS) as running:
        yield running


@pytest.fixture
def environment(services: RunningServices, servers: RunningServers, tmp_path: Path) -> dict[str, str]:
    """The settings of the command; no stack is up where it looks for one."""
    return {
        "STACK_DIR": str(tmp_path / "no-stack"),
        **{f"MINTWIRE_{name.upper()}_URL": url for name, url in services.urls.items()},
        "MINTWIRE_AMQP_URL": services.broker_urls["operator"],
        "MINTWIRE_MANAGEMENT_URL": servers.management_url(),
        "MINTWIRE_OPERATOR_TOKEN": services.operator_token,
    }


@pytest.fixture
def bare(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Mintwire:
    """The command as the operator, without any program's settings."""
    return Mintwire(environment, monkeypatch, capsys)


@pytest.fixture
async def merchant(bare: Mintwire) -> Merchant:
    """A program and a partner, created by the command."""
    return await make_merchant(bare)


async def make_merchant(bare: Mintwire) -> Merchant:
    """Create a program and a partner, and configure the command for them."""
    program = await bare.json("program", "create", "Acme Cards", "--link-url", "https://acme.example/")
    bare.environment |= {"MINTWIRE_PROGRAM_ID": program["id"], "MINTWIRE_PROGRAM_KEY": program["api_key"]}
    partner = await bare.json("partner", "create", "Flower Shop", "--prefix", "FLOWER", "--active")
    await bare("quota", "grant", partner["id"], "10")
    key = await bare.json("key", "create", "--partner", partner["id"])
    bare.environment["MINTWIRE_PARTNER_KEY"] = key["key"]
    return Merchant(program["id"], program["api_key"], partner["id"], key["key"])


@pytest.fixture
def mintwire(bare: Mintwire, merchant: Merchant) -> Mintwire:
    """The command, fully configured."""
    assert merchant.partner_key == bare.environment["MINTWIRE_PARTNER_KEY"]
    return bare


async def until(condition: Callable[[], Awaitable[object]], what: str = "the condition") -> None:
    """Wait for a condition with a deadline; a condition that is costly to check is checked half of the time."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            began = time.monotonic()
            while not await condition():
                await asyncio.sleep(max(0.05, time.monotonic() - began))
                began = time.monotonic()
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


def without(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return the environment without some variables."""
    return {name: value for name, value in environment.items() if name not in names}
