"""How many dead letters a service keeps in its database because their queue has no room for them."""

from __future__ import annotations

from mintwire.cli.client import address, fetch
from mintwire.cli.config import Target


def owner_of(queue: str) -> str:
    """Return the service that a queue belongs to."""
    return queue.partition(".")[0]


async def kept_letters(target: Target, queue: str, seconds: float) -> int:
    """Ask the service of a queue, with the operator's token; it counts up to ten thousand."""
    service = owner_of(queue)
    url = address(getattr(target, f"{service}_url"), "v1", "operator", service, "dead-letters")
    return int((await fetch("GET", url, key=target.operator_token, seconds=seconds))["kept"])
