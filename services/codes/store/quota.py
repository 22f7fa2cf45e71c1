"""The movements of a partner's quota: counters and ledger in one statement."""

import uuid
from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from services.codes.domain.quota import LedgerEntry, Quota
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import LAST_ID

MOVE_QUOTA = Statement("""
WITH entry AS (
    INSERT INTO quota_ledger (id, partner_id, kind, amount, actor, reason, created_at, code_order_id)
    VALUES ($id, $partner_id, $kind, $amount, $actor, $reason, $created_at, $code_order_id)
    RETURNING partner_id)
UPDATE partners SET quota_granted = $granted, quota_adjusted = $adjusted, quota_minted = $minted,
       quota_refunded = $refunded
FROM entry WHERE id = entry.partner_id
""")
# For the reason of bounds see `store.code_lists`.
LIST_LEDGER = """
SELECT id, kind, amount, code_ids, actor, reason, created_at, code_order_id
FROM quota_ledger WHERE (partner_id, id) < ($1, $2) AND partner_id >= $1
ORDER BY partner_id DESC, id DESC LIMIT $3
"""


async def move_quota(connection: Connection, partner_id: uuid.UUID, after: Quota, entry: LedgerEntry) -> None:
    """Write the counters after a movement and its ledger row; the partner must be locked by this transaction."""
    await connection.execute(*MOVE_QUOTA(**_QUOTA.of(after), **_ENTRY.of(entry), partner_id=partner_id))


async def list_ledger(
    connection: Connection, partner_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> Sequence[LedgerEntry]:
    """Read up to `limit` movements, newest first, older than `after`."""
    return [_entry(row) for row in await connection.fetch(LIST_LEDGER, partner_id, after or LAST_ID, limit)]


_COUNTERS: Final = tuple(each.name for each in fields(Quota))
_QUOTA: Final = Values(_COUNTERS, Quota)
_ENTRY: Final = Values(MOVE_QUOTA.names, LedgerEntry, "partner_id", *_COUNTERS)
_entry: Final = Rows(LedgerEntry)
