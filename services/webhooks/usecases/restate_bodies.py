"""Rewrites partners' bodies that show more than partners may see: the only exception to frozen bodies.

It runs until none is left and checks again from time to time, because during a rollout a process of an earlier version
may still write some. The message keeps its id; its stored body is what is sent and signed from then on.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from services.webhooks.domain.bodies import restate_body, restate_content
from services.webhooks.store import restating
from services.webhooks.store.restating import Restated, Stored
from shared.database.pool import Database
from shared.known_ids import FIRST_ID
from shared.log import get_logger
from shared.metrics import WEBHOOKS_RESTATED

LISTS_VERSION: Final = 1
_UNREADABLE: Final = 0
_BATCH: Final = 100
_FIRST: Final = (FIRST_ID, "")


@dataclass(frozen=True, slots=True)
class RestateBodies:
    """Runs in every process; they share the work by row locks, and each step is atomic."""

    database: Database
    # A pause between two steps, so that deliveries are not slowed down. A process that looked for a body before the
    # program kept its own has also found it by then.
    breath_seconds: float = 0.2

    async def __call__(self) -> int:
        """Rewrite the bodies in small steps, and return how many there were."""
        count, after = 0, _FIRST
        while True:
            async with self.database.connection() as connection:
                chosen = await restating.keep_for_programs(connection, after, _BATCH)
            if not chosen:
                break
            await asyncio.sleep(self.breath_seconds)
            count += await self._restate(chosen)
            after = chosen[-1]
        if count:
            get_logger().info("bodies_restated", count=count)
        return count

    async def _restate(self, chosen: Sequence[tuple[uuid.UUID, str]]) -> int:
        async with self.database.transaction() as connection:
            found = await restating.hold(connection, chosen)
            busy = await restating.hand_to_programs(connection, [each.id for each in found if each.format == "flat"])
            made = [_rewrite(each) for each in found if each.format != "flat" or each.id not in busy]
            await restating.restate(connection, made)
        WEBHOOKS_RESTATED.inc(len(made))
        return len(made)


def _rewrite(stored: Stored) -> Restated:
    """Return the body to store; a damaged body stays as it is and does not stop the others."""
    try:
        body = (
            None if stored.body is None else restate_body(stored.event_type, stored.format, orjson.loads(stored.body))
        )
        content = None
        if stored.content is not None:
            content = restate_content(stored.event_type, orjson.loads(stored.content))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        get_logger().error("body_not_restated", message_id=str(stored.id), format=stored.format, reason=str(error))
        return Restated(stored.id, stored.format, stored.body, stored.content, _UNREADABLE)
    return Restated(stored.id, stored.format, _bytes(body), _bytes(content), LISTS_VERSION)


def _bytes(value: object) -> bytes | None:
    return None if value is None else orjson.dumps(value)
