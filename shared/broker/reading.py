"""Reads a batch of messages for any handler of events: parse each one, pass on valid events, reject the rest.

The use case returns for each event whether it is known already, and whether with another body.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from shared.broker.messages import Received, Reject
from shared.events.envelope import InvalidEvent

E = TypeVar("E")


async def settle(
    batch: Sequence[Received],
    read: Callable[[Received], E],
    take_in: Callable[[Sequence[E]], Awaitable[Sequence[Literal["fresh", "duplicate", "conflict"]]]],
) -> list[Reject | None]:
    """Return one outcome per message, in order: None for done, or why it is rejected.

    `read` raises InvalidEvent; `take_in` returns a verdict per event, and what it raises is raised for the whole batch.
    """
    outcomes: list[Reject | None] = [None] * len(batch)
    events: dict[int, E] = {}
    for place, received in enumerate(batch):
        try:
            events[place] = read(received)
        except InvalidEvent as error:
            outcomes[place] = Reject(error.reason, error.detail)
    verdicts = await take_in(list(events.values())) if events else ()
    for place, verdict in zip(events, verdicts, strict=True):
        if verdict == "conflict":
            outcomes[place] = Reject(
                "event_id_conflict", "An event with this id and a different body was received before."
            )
    return outcomes
