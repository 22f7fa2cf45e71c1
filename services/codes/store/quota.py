"""The movements of a partner's quota: counters and ledger in one statement."""

import uuid
from collections.abc import Sequence

from services.codes.domain.quota import LedgerEntry, Quota
from services.codes.store.pages import LAST_ID
from shared.database.pool import Connection

MOVE_QUOTA = """
WITH entry AS (
    INSERT INTO quota_ledger (id, partner_id, kind, amount, actor, reason, created_at)
    VALUES ($6, $1, $7, $8, $9, $10, $11)
    RETURNING partner_id)
UPDATE partners SET quota_granted = $2, quota_adjusted = $3, quota_minted = $4, quota_refunded = $5
FROM entry WHERE id = entry.partner_id
"""
# Why by bounds is said in `store.promotion_codes`.
LIST_LEDGER = """
SELECT id, kind, amount, code_ids, actor, reason, created_at
FROM quota_ledger WHERE (partner_id, id) < ($1, $2) AND partner_id >= $1
ORDER BY partner_id DESC, id DESC LIMIT $3
"""


async def move_quota(connection: Connection, partner_id: uuid.UUID, after: Quota, entry: LedgerEntry) -> None:
    """Write the counters after a movement and its ledger row; the partner must be locked by this transaction."""
    await connection.execute(
        MOVE_QUOTA,
        partner_id,
        after.granted,
        after.adjusted,
        after.minted,
        after.refunded,
        entry.id,
        entry.kind,
        entry.amount,
        entry.actor,
        entry.reason,
        entry.created_at,
    )


async def list_ledger(
    connection: Connection, partner_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> Sequence[LedgerEntry]:
    """Read up to `limit` movements, newest first, older than `after`."""
    return [LedgerEntry(*row) for row in await connection.fetch(LIST_LEDGER, partner_id, after or LAST_ID, limit)]
