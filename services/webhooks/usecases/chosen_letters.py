"""Goes through the dead letters that a filter means, a bounded number of them, whatever it leaves out."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from services.webhooks.domain.deliveries import DeadLetterFilter
from services.webhooks.domain.endpoints import Owner
from services.webhooks.store import closing, dead_letters
from shared.database.pool import Connection

_AT_ONCE: Final = 500
# A request that has looked at so many stretches is answered.
MOST_STRETCHES: Final = 50


@dataclass(frozen=True, slots=True)
class Handled:
    """How many dead letters were handled; `is_whole` is false where there may be more that are meant."""

    count: int
    is_whole: bool


async def handle_letters(
    connection: Connection,
    owner: Owner,
    chosen: DeadLetterFilter,
    limit: int,
    handle: Callable[[list[uuid.UUID], int], Awaitable[int]],
    *,
    with_archived: bool,
) -> Handled:
    """Hand the dead letters over, the oldest first, until `limit` are handled; `handle` says of how many it has."""
    # Asked before the walk: what becomes a dead letter behind it is meant too.
    is_closing = await closing.is_under_way(connection, owner, chosen.endpoint_id)
    count, after = 0, uuid.UUID(int=0)
    for _ in range(MOST_STRETCHES):
        stretch = await dead_letters.walk(connection, owner, chosen, after, _AT_ONCE, with_archived=with_archived)
        if stretch.ids:
            count += await handle(stretch.ids, limit - count)
        if stretch.next_after is None:
            # What this last stretch had beyond the limit is left.
            return Handled(count, is_whole=count < limit and not is_closing)
        if count >= limit:
            break
        after = stretch.next_after
    return Handled(count, is_whole=False)
