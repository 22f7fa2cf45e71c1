"""Free ports are free, and the owner of a listener is known."""

import os
import socket
from collections.abc import Iterator

import pytest

from mintwire.stack import ports


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server((ports.HOST, 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_not_chosen(listener: int) -> None:
    assert not ports.is_free(listener)
    assert ports.free_port([listener]) != listener


def test_a_free_preferred_port_is_chosen_unless_taken() -> None:
    free = ports.free_port()
    assert ports.free_port([free]) == free
    assert ports.free_port([free], taken=[free]) != free


def test_the_owner_of_a_listener_is_known(listener: int) -> None:
    """Two stacks that start at once must not take each other's service for their own."""
    assert ports.is_listener(os.getpid(), listener)
    assert not ports.is_listener(os.getppid(), listener)
    assert not ports.is_listener(os.getpid(), ports.free_port())
