"""The broker under test, a client beside it, and a path to it that can break."""

from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

from mintwire.cli.checks.management import Management
from tests.servers import RunningServers
from tests.shared.broker.tools import Broker, Proxy, client


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """Without it each expected failure of a handler is drawn with its variables, which takes long."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])
    yield
    structlog.reset_defaults()


@pytest.fixture
def url(clean_broker: dict[str, str]) -> str:
    """The operator's URL."""
    return clean_broker["operator"]


@pytest.fixture
def management(servers: RunningServers, url: str) -> Management:
    """The management API, as the operator."""
    return Management.of(servers.management_url(), url)


@pytest.fixture
async def broker(url: str) -> AsyncIterator[Broker]:
    async with client(url) as made:
        yield made


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    async with Proxy(url) as made:
        yield made
