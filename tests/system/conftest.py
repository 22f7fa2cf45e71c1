"""One whole stack, supervised as `make up` does it, for all tests of this folder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.system.stack import Partner, Receiver, Stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the one stack in one process."""
    for item in items:
        if "tests/system" in str(item.path):
            item.add_marker(pytest.mark.xdist_group("system"))


@pytest.fixture(scope="session")
def stack(test_run: Path) -> Iterator[Stack]:
    """The running stack."""
    made = Stack(test_run / "system-stack")
    made.up()
    try:
        yield made
    finally:
        made.down()


@pytest.fixture
async def partner(stack: Stack) -> Partner:
    """A partner for this test alone, whose key has no limit."""
    return await stack.new_partner()


@pytest.fixture
async def receiver(partner: Partner) -> AsyncIterator[Receiver]:
    """The partner's receiver."""
    async with Receiver.of(partner) as made:
        yield made
