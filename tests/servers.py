"""The private servers of one test run: started at the first need by whichever process needs them, one for all.

Each run has its own folder under `.test-run/`, so that runs side by side do not meet; what an interrupted run left
behind is ended and removed by the next one.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mintwire.stack import down as ending
from mintwire.stack import places, processes
from mintwire.stack.config import StackSettings
from mintwire.stack.servers import Servers
from shared.broker.permissions import PERMISSIONS

ROOT = Path(__file__).parent.parent
RUNS = ROOT / ".test-run"
RUN_VARIABLE = "MINTWIRE_TEST_RUN"
VHOSTS = tuple(f"test{number}" for number in range(8))
# One constant per user; the broker listens on loopback and lives as long as the run.
BROKER_PASSWORDS = {user: f"{user}-test" for user in PERMISSIONS}
# The servers outlive the test that starts them; forgetting their handles would be reported as a leak.
_started: list[Servers] = []


@dataclass(frozen=True)
class RunningServers:
    """Where the servers are: the PostgreSQL superuser's URL, and the addresses of the broker and its management."""

    database_url: str
    broker_address: str
    management_address: str

    def broker_url(self, user: str, vhost: str) -> str:
        return f"amqp://{user}:{BROKER_PASSWORDS[user]}@{self.broker_address}/{vhost}"

    def management_url(self) -> str:
        """Return the management API's URL, as the operator."""
        return f"http://operator:{BROKER_PASSWORDS['operator']}@{self.management_address}"


def open_run() -> Path:
    """Make the folder of this run and clear away what dead runs left; called once, by the controller."""
    RUNS.mkdir(exist_ok=True)
    with locked(RUNS / "lock"):
        for folder in RUNS.iterdir():
            if folder.name.isdecimal() and processes.load(folder / "controller.json") is None:
                _clear(folder)
        for folder in places.forgotten_in_memory():
            _end_servers(folder)
            shutil.rmtree(folder)
        run = RUNS / str(os.getpid())
        run.mkdir()
        own = processes.record_of(os.getpid())
        assert own is not None
        processes.save(run / "controller.json", own)
    return run


def close_run(run: Path) -> None:
    """Stop the run's servers and remove its folder."""
    with locked(RUNS / "lock"):
        _clear(run)


def running_servers(run: Path) -> RunningServers:
    """Return the run's servers, starting them if no process of the run has done so; given ones are used as given."""
    given = RunningServers(
        os.environ.get("TEST_DATABASE_URL", ""),
        _address(os.environ.get("TEST_AMQP_URL", "")),
        _address(os.environ.get("TEST_MANAGEMENT_URL", "")),
    )
    if given.database_url and given.broker_address:
        return given
    known = run / "servers.json"
    with locked(run / "lock"):
        if not known.exists():
            servers = _servers(run)
            _started.append(servers)
            servers.start()
            addresses = [_address(servers.broker_url("operator", VHOSTS[0])), _address(servers.management_url)]
            processes.write_private(known, json.dumps([servers.database_url, *addresses]))
        own = RunningServers(*json.loads(known.read_text()))
    broker = given if given.broker_address else own
    return RunningServers(given.database_url or own.database_url, broker.broker_address, broker.management_address)


@contextlib.contextmanager
def leased_vhost(broker_address: str) -> Iterator[str]:
    """Hold one of the test vhosts for this process alone, over all runs that use the same broker."""
    folder = RUNS / "vhosts"
    folder.mkdir(parents=True, exist_ok=True)
    for vhost in VHOSTS:
        with (folder / f"{broker_address.replace(':', '-')}-{vhost}").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield vhost
            return
    raise RuntimeError(f"all {len(VHOSTS)} test vhosts of {broker_address} are in use; run fewer workers")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it falls by itself when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _address(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _servers(run: Path) -> Servers:
    return Servers(run, vhosts=VHOSTS, passwords=BROKER_PASSWORDS, is_durable=False)


def _end_servers(folder: Path) -> None:
    for name in ("process", "epmd"):
        if record := processes.load(folder / f"{name}.json"):
            processes.end(record)


def _clear(run: Path) -> None:
    """End every server and stack in the run's folder or right below it, and remove all of it."""
    for folder in (run, *(path for path in run.iterdir() if path.is_dir())):
        if any((folder / name).exists() for name in ("postgres", "rabbitmq", "processes")):
            settings = StackSettings(folder, None, None, {})
            ending.down(settings)
            ending.clean(settings)
    shutil.rmtree(run)
