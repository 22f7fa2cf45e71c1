"""What the dispatcher drives: the use cases of the queue, and the sender."""

import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.webhooks.domain.deliveries import Answer, Backlog, HeldDelivery, Outgoing, Target
from services.webhooks.domain.endpoints import EndpointState


class Post(Protocol):
    """Makes one attempt; returns whatever happens."""

    def __call__(self, outgoing: Outgoing, /) -> Awaitable[Answer]:
        """POST and report."""


class End(Protocol):
    """Ends deliveries without an attempt."""

    async def cancel(self, held: Sequence[HeldDelivery]) -> None:
        """End those of an archived endpoint."""

    async def bury(self, held: Sequence[HeldDelivery], targets: dict[uuid.UUID, Target], reason: str) -> None:
        """End as dead letters."""


@dataclass(frozen=True, slots=True)
class Works:
    """The use cases that the dispatcher drives."""

    claim: Callable[[int, int, Iterable[tuple[uuid.UUID, int]], int, float], Awaitable[list[HeldDelivery]]]
    claim_expired: Callable[[int], Awaitable[list[HeldDelivery]]]
    release: Callable[[Sequence[HeldDelivery]], Awaitable[None]]
    load_targets: Callable[[Sequence[uuid.UUID]], Awaitable[dict[uuid.UUID, Target]]]
    read_states: Callable[[Sequence[uuid.UUID]], Awaitable[list[EndpointState]]]
    measure_backlog: Callable[[], Awaitable[Backlog]]
    release_heads: Callable[[], Awaitable[bool]]
    end: End
