"""Redemptions that a process of the previous release wrote without the mailbox of their customer."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from shared.database.pool import Connection

# Locked against others that fill them or erase their customer: the rows read here do not change meanwhile.
LOCK_UNFILLED = """
SELECT r.id, r.customer_key FROM redemptions r WHERE NOT r.is_mailbox_kept ORDER BY r.id LIMIT $1 FOR UPDATE
"""
FILL = """
UPDATE redemptions r SET customer_key = u.customer_key, mailbox_key = u.mailbox_key, is_mailbox_kept = true
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (id, customer_key, mailbox_key)
WHERE r.id = ANY ($1::uuid[]) AND r.id = u.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfilled:
    """A redemption with only the first key of its customer."""

    id: uuid.UUID
    customer_key: str | None


async def lock_unfilled(connection: Connection, limit: int) -> list[Unfilled]:
    """Return up to `limit` such redemptions, locked."""
    return [Unfilled(**row) for row in await connection.fetch(LOCK_UNFILLED, limit)]


async def fill(connection: Connection, keys: Sequence[tuple[uuid.UUID, str | None, str | None]]) -> None:
    """Write the keys of customers, as (redemption, key, mailbox key)."""
    await connection.execute(FILL, *([each[place] for each in keys] for place in range(3)))
