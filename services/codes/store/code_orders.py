"""Orders of codes, as rows. A list shows pending ones first, and then the newest."""

import uuid
from datetime import datetime
from typing import Final

from services.codes.domain.code_orders import MOST_PENDING, CodeOrder, CodeOrderFilter
from services.codes.domain.pages import Place, Ranked
from services.codes.store.pages import SCANNED_PER_PAGE
from shared.database.pool import Connection, affected
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import LAST_ID

INSERT_CODE_ORDER = Statement("""
INSERT INTO code_orders (id, program_id, partner_id, count, reference, note, must_be_paid, state, placed_by, created_at)
VALUES ($id, $program_id, $partner_id, $count, $reference, $note, $must_be_paid, $state, $placed_by, $created_at)
""")
FIND_CODE_ORDER = """
SELECT id, program_id, partner_id, count, reference, note, must_be_paid, state, reason, placed_by, decided_by,
       created_at, decided_at
FROM code_orders WHERE id = $1 AND program_id = $2 AND ($3::uuid IS NULL OR partner_id = $3)
"""
LOCK_CODE_ORDER = """
SELECT id, program_id, partner_id, count, reference, note, must_be_paid, state, reason, placed_by, decided_by,
       created_at, decided_at
FROM code_orders WHERE id = $1 AND program_id = $2 AND ($3::uuid IS NULL OR partner_id = $3)
FOR NO KEY UPDATE
"""
FIND_BY_REFERENCE = """
SELECT id, program_id, partner_id, count, reference, note, must_be_paid, state, reason, placed_by, decided_by,
       created_at, decided_at
FROM code_orders WHERE partner_id = $1 AND reference = $2
"""
COUNT_PENDING = """
SELECT count(*) FROM (SELECT FROM code_orders WHERE partner_id = $1 AND is_pending LIMIT $2) AS pending
"""
UPDATE_CODE_ORDER = Statement("""
UPDATE code_orders SET state = $state, reason = $reason, decided_by = $decided_by, decided_at = $decided_at
WHERE id = $id
""")
# One of the four branches runs, that of the narrowest given filter. For the reason of bounds see
# `store.code_lists`; OFFSET 0 forces the look-up by reference. The mark is the last order that was looked at, if
# there may be more.
LIST_CODE_ORDERS = Statement("""
WITH scanned AS MATERIALIZED (
    (SELECT * FROM (
        SELECT id, is_pending, program_id, state, created_at FROM code_orders
        WHERE $way = 'one' AND partner_id = $partner_id AND reference = $reference OFFSET 0) one
     WHERE (is_pending, id) < ($pending_before, $before))
    UNION ALL
    (SELECT id, is_pending, program_id, state, created_at FROM code_orders
     WHERE $way = 'reference' AND reference IS NOT NULL
       AND (program_id, reference, is_pending, id) < ($program_id, $reference, $pending_before, $before)
       AND (program_id, reference) >= ($program_id, $reference)
     ORDER BY program_id DESC, reference DESC, is_pending DESC, id DESC LIMIT $scanned)
    UNION ALL
    (SELECT id, is_pending, program_id, state, created_at FROM code_orders
     WHERE $way = 'partner' AND (partner_id, is_pending, id) < ($partner_id, $pending_before, $before)
       AND (partner_id, is_pending) >= ($partner_id, $state = 'pending' IS TRUE)
       AND EXISTS (SELECT FROM partners WHERE id = $partner_id AND program_id = $program_id)
     ORDER BY partner_id DESC, is_pending DESC, id DESC LIMIT $scanned)
    UNION ALL
    (SELECT id, is_pending, program_id, state, created_at FROM code_orders
     WHERE $way = 'program' AND (program_id, is_pending, id) < ($program_id, $pending_before, $before)
       AND (program_id, is_pending) >= ($program_id, $state = 'pending' IS TRUE)
     ORDER BY program_id DESC, is_pending DESC, id DESC LIMIT $scanned)
), chosen AS (
    SELECT id, is_pending FROM scanned
    WHERE program_id = $program_id AND ($state::text IS NULL OR state = $state)
      AND ($since::timestamptz IS NULL OR created_at >= $since)
      AND ($until::timestamptz IS NULL OR created_at <= $until)
    ORDER BY is_pending DESC, id DESC LIMIT $limit
)
SELECT id, is_pending, false AS is_mark FROM chosen
UNION ALL
(SELECT id, is_pending, true FROM scanned WHERE (SELECT count(*) FROM scanned) = $scanned
 ORDER BY is_pending, id LIMIT 1)
""")
READ_CODE_ORDERS = """
SELECT id, program_id, partner_id, count, reference, note, must_be_paid, state, reason, placed_by, decided_by,
       created_at, decided_at
FROM code_orders WHERE id = ANY ($1::uuid[])
"""
PURGE_CODE_ORDERS = """
DELETE FROM code_orders WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM code_orders WHERE state IN ('refused', 'cancelled') AND decided_at <= $1
    ORDER BY decided_at LIMIT $2 FOR UPDATE SKIP LOCKED))
"""


async def insert_code_order(connection: Connection, order: CodeOrder) -> None:
    """Write a new order; the partner must be locked by this transaction."""
    await connection.execute(*INSERT_CODE_ORDER(**_INSERTED.of(order)))


async def find_code_order(
    connection: Connection, order_id: uuid.UUID, program_id: uuid.UUID, partner_id: uuid.UUID | None
) -> CodeOrder | None:
    """Read one order of a program, or of a partner."""
    row = await connection.fetchrow(FIND_CODE_ORDER, order_id, program_id, partner_id)
    return _order(row) if row else None


async def lock_code_order(
    connection: Connection, order_id: uuid.UUID, program_id: uuid.UUID, partner_id: uuid.UUID | None
) -> CodeOrder | None:
    """Read one order and lock it until the transaction ends; lock the partner only after it."""
    row = await connection.fetchrow(LOCK_CODE_ORDER, order_id, program_id, partner_id)
    return _order(row) if row else None


async def find_by_reference(connection: Connection, partner_id: uuid.UUID, reference: str) -> CodeOrder | None:
    """Find the order that a partner calls like this."""
    row = await connection.fetchrow(FIND_BY_REFERENCE, partner_id, reference)
    return _order(row) if row else None


async def has_room(connection: Connection, partner_id: uuid.UUID) -> bool:
    """Return whether a partner may have another pending order."""
    pending: int = await connection.fetchval(COUNT_PENDING, partner_id, MOST_PENDING)
    return pending < MOST_PENDING


async def update_code_order(connection: Connection, order: CodeOrder) -> None:
    """Write a decision; the order must be locked by this transaction."""
    await connection.execute(*UPDATE_CODE_ORDER(**_UPDATED.of(order)))


async def list_code_orders(
    connection: Connection, wanted: CodeOrderFilter, after: Place | None, limit: int
) -> Ranked[CodeOrder]:
    """Read up to `limit` matching orders that come after a place; a filtered page may be short before the end."""
    is_filtered = any(each is not None for each in (wanted.since, wanted.until, wanted.state))
    pending_before, before = after or (wanted.state in (None, "pending"), LAST_ID)
    rows = await connection.fetch(
        *LIST_CODE_ORDERS(
            **_WANTED.of(wanted),
            way=_way(wanted),
            pending_before=pending_before,
            before=before,
            limit=limit + 1,
            scanned=max(SCANNED_PER_PAGE, limit + 1) if is_filtered else limit + 1,
        )
    )
    places = sorted(((row["is_pending"], row["id"]) for row in rows if not row["is_mark"]), reverse=True)
    mark = next(((row["is_pending"], row["id"]) for row in rows if row["is_mark"]), None)
    shown = [order_id for _, order_id in places[:limit]]
    found = {row["id"]: _order(row) for row in await connection.fetch(READ_CODE_ORDERS, shown)}
    return Ranked([found[order_id] for order_id in shown], places[limit - 1] if len(places) > limit else mark)


async def purge_code_orders(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` orders that were refused or cancelled before a time."""
    return affected(await connection.execute(PURGE_CODE_ORDERS, before, limit))


def _way(wanted: CodeOrderFilter) -> str:
    if wanted.reference is not None:
        return "reference" if wanted.partner_id is None else "one"
    return "program" if wanted.partner_id is None else "partner"


_PAGING: Final = ("way", "pending_before", "before", "limit", "scanned")
_order: Final = Rows(CodeOrder)
_INSERTED: Final = Values(INSERT_CODE_ORDER.names, CodeOrder)
_UPDATED: Final = Values(UPDATE_CODE_ORDER.names, CodeOrder)
_WANTED: Final = Values(LIST_CODE_ORDERS.names, CodeOrderFilter, *_PAGING)
