"""The fixtures of all tests: real PostgreSQL and RabbitMQ, a database and a clean broker for each test."""

import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from shared.broker.permissions import PERMISSIONS
from shared.process import _spare_collections
from tests.databases import Database, close_administrators, migrated_template, new_database
from tests.running import empty_broker
from tests.servers import RUN_VARIABLE, RUNS, RunningServers, close_run, leased_vhost, open_run, running_servers

_SYSTEM = "tests/system/"
# Files of a few long tests that share nothing: each test goes to whichever worker is free.
_APART = frozenset(
    {
        "tests/contracts/test_hostile_messages.py",
        "tests/contracts/test_hostile_requests.py",
        "tests/contracts/test_http_apis.py",
        "tests/services/test_database_refuses.py",
        "tests/services/webhooks/test_losses.py",
    }
)
# Files whose few tests are long and share something; by the number of their tests they would end the run.
_LONG = (
    "tests/services/test_password_rotation.py",
    "tests/services/webhooks/test_isolation.py",
    "tests/shared/test_service.py",
    "tests/contracts/test_refused_fields.py",
    "tests/services/webhooks/test_replay_crashes.py",
    "tests/services/webhooks/test_bounded.py",
    "tests/services/webhooks/test_process.py",
    "tests/services/webhooks/test_names.py",
)
# In this order: the whole system, which takes longest, and beside it what keeps one core busy and no more, for its
# bystanders measure seconds; then what is long or starts processes. Files that are left end the run.
_ORDER = (
    *(
        _SYSTEM,
        "tests/architecture/",
        "tests/test_linear_work.py",
        "tests/services/codes/",
        "tests/services/redemption/",
    ),
    *sorted(_APART),
    *("tests/mintwire/stack/", "tests/shared/broker/", "tests/mintwire/cli/"),
    *_LONG,
)
# How long an example takes says more about the machine, and what else runs on it, than about the code.
settings.register_profile("mintwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mintwire")
NewDatabase = Callable[[], AbstractAsyncContextManager[Database]]


def pytest_configure(config: pytest.Config) -> None:
    """Open the run in the controller; the workers of xdist inherit it by the environment."""
    if not hasattr(config, "workerinput"):
        os.environ[RUN_VARIABLE] = str(open_run())
        # Hundreds of processes start. Where nothing compiled may be left in the tree, it is kept beside the runs.
        if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
            os.environ.setdefault("PYTHONPYCACHEPREFIX", str(RUNS / "bytecode"))
        # The run's own server speaks no TLS, and to ask it each time costs as much as the rest of a connection.
        if "TEST_DATABASE_URL" not in os.environ:
            os.environ.setdefault("PGSSLMODE", "disable")
        # An ended run must stop its servers too; the default would end this process at once.
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the run's servers, also after failures and Ctrl-C."""
    if not hasattr(config, "workerinput") and (run := os.environ.pop(RUN_VARIABLE, None)):
        close_run(Path(run))


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps the tests of a file in one worker, and those of the whole system, which share one stack, too.

    The `xdist_group` mark would say the same, but xdist 3.8 writes it where pytest 9.2 no longer reads it.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_SYSTEM):
            return _SYSTEM
        file = nodeid.partition("::")[0]
        return nodeid if file in _APART else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """Spread files, not single tests, over the workers: costly fixtures have the scope of a file."""
    # They are in order already.
    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what takes long from the end, where one worker would be left alone with it; large files come first."""
    sizes = Counter(item.nodeid.partition("::")[0] for item in items)

    def place(item: pytest.Item) -> tuple[int, int]:
        file = item.nodeid.partition("::")[0]
        found = (number for number, start in enumerate(_ORDER) if file.startswith(start))
        return next(found, len(_ORDER)), -sizes[file]

    items.sort(key=place)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Collect cycles as seldom as the services do; thousands of collected tests would be gone through each time."""
    _spare_collections()


@pytest.fixture(scope="session")
def test_run() -> Path:
    """The folder of this run."""
    return Path(os.environ[RUN_VARIABLE])


@pytest.fixture(scope="session")
def servers(test_run: Path) -> RunningServers:
    """Both servers, started at the first need."""
    return running_servers(test_run)


@pytest.fixture(scope="session")
def database_server_url(servers: RunningServers) -> Iterator[str]:
    """The PostgreSQL superuser's URL; make databases of your own beside it."""
    yield servers.database_url
    close_administrators()


@pytest.fixture(scope="session")
def vhost(servers: RunningServers) -> Iterator[str]:
    """The vhost that belongs to this test process alone."""
    with leased_vhost(servers.broker_address) as name:
        yield name


@pytest.fixture(scope="session")
def broker_urls(servers: RunningServers, vhost: str) -> dict[str, str]:
    """Broker user to AMQP URL, in this process's vhost."""
    return {user: servers.broker_url(user, vhost) for user in PERMISSIONS}


@pytest.fixture
async def clean_broker(broker_urls: dict[str, str]) -> dict[str, str]:
    """This process's vhost with the topology declared afresh and every queue empty; returns the broker's URLs."""
    await empty_broker(broker_urls["operator"])
    return broker_urls


@pytest.fixture(scope="session")
def migrated(test_run: Path, servers: RunningServers, vhost: str) -> Database:
    """The template that all services have migrated; clone it, never connect to it."""
    return migrated_template(test_run, servers, vhost)


@pytest.fixture(scope="session")
def new_migrated_database(database_server_url: str, migrated: Database) -> NewDatabase:
    """Make migrated databases: `async with new_migrated_database() as database`."""
    return lambda: new_database(database_server_url, migrated.name)


@pytest.fixture
async def database(new_migrated_database: NewDatabase) -> AsyncIterator[Database]:
    """A migrated database for this test alone."""
    async with new_migrated_database() as made:
        yield made


@pytest.fixture
async def empty_database(database_server_url: str) -> AsyncIterator[Database]:
    """A database for this test alone, with nothing in it."""
    async with new_database(database_server_url) as made:
        yield made
