"""Finds free loopback ports that stay free while their server is down."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from pathlib import Path

HOST = "127.0.0.1"
# Its other name, for the shop: browsers keep cookies by name and not by port, so it sees those of nothing else here.
SHOP_HOST = "localhost"

# Below the kernel's range for outgoing connections (from 32768): any client could take a port inside that range
# while its server restarts, and the address of the server must survive a restart.
_FIRST, _LAST = 20000, 32000
# The state of a listening socket in the kernel's table.
_LISTEN = "0A"


def is_free(port: int) -> bool:
    """Return whether a server could listen on the loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(preferred: Iterable[int] = (), taken: Iterable[int] = ()) -> int:
    """Return the first preferred port that is free, else a random free one; never one of `taken`."""
    avoided = set(taken)
    for port in preferred:
        if port not in avoided and is_free(port):
            return port
    generator = random.SystemRandom()
    for _ in range(1000):
        port = generator.randint(_FIRST, _LAST)
        if port not in avoided and is_free(port):
            return port
    raise OSError(f"no free loopback port between {_FIRST} and {_LAST}")


def accepts(port: int) -> bool:
    """Return whether a server accepts connections on the loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def is_listener(pid: int, port: int) -> bool:
    """Return whether exactly this process listens on the loopback port (another stack may answer there)."""
    sockets = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            sockets.add(f"socket:[{fields[9]}]")
    try:
        return any(str(descriptor.readlink()) in sockets for descriptor in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        # The process, or one of its files, disappeared meanwhile.
        return False
