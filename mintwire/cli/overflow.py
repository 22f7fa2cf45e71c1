"""The number of dead letters that a service keeps in its database because their queue has no room."""

from __future__ import annotations

from mintwire.cli.client import address, fetch
from mintwire.cli.config import Target


def owner_of(queue: str) -> str:
    """Return the service that a queue belongs to."""
    return queue.partition(".")[0]


async def kept_letters(target: Target, queue: str, seconds: float) -> int:
    """Return the number from the service of a queue, counted up to ten thousand; needs the operator's token."""
    service = owner_of(queue)
    url = address(getattr(target, f"{service}_url"), "v1", "operator", service, "dead-letters")
    return int((await fetch("GET", url, key=target.operator_token, seconds=seconds))["kept"])
