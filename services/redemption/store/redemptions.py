"""Redemptions and reservations as they are shown, and the end of a reservation."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from services.redemption.domain.books import HeldCode, Redemption, Reservation
from services.redemption.domain.listing import RedemptionFilter
from shared.database.pool import Connection

# The columns are the members of Redemption, in their order.
READ_REDEMPTIONS = """
SELECT id, program_id, order_ref, canonical, code, code_id, coupon_id, partner_id, customer_id, customer_key,
       discount_type, percent_hundredths, amount_minor, discount_minor, currency, subtotal_minor,
       commission_hundredths, commission_minor, discount_ends_at, release_policy, release_until, occurred_at,
       confirmed_at, is_counted, voided_at, void_reason, terms
FROM redemptions WHERE id = ANY ($2::uuid[]) AND program_id = $1
ORDER BY occurred_at DESC, id DESC
"""
# One statement per way to the rows, each with an index that gives them in order; what else is asked for is filtered.
# The parameters are the same for all.
LIST_OF_ORDER = """
SELECT id FROM redemptions
WHERE program_id = $1 AND order_ref = $2
  AND ($3::uuid[] IS NULL OR code_id = ANY ($3)) AND ($4::uuid IS NULL OR coupon_id = $4)
  AND ($5::uuid IS NULL OR partner_id = $5) AND ($6::boolean IS NULL OR (voided_at IS NOT NULL) = $6)
  AND ($7::timestamptz IS NULL OR occurred_at >= $7) AND ($8::timestamptz IS NULL OR occurred_at < $8)
  AND (occurred_at, id) < ($9::timestamptz, $10::uuid) AND ($12::text IS NULL OR customer_key = $12)
ORDER BY occurred_at DESC, id DESC LIMIT $11
"""
LIST_OF_CODES = """
SELECT id FROM redemptions
WHERE program_id = $1 AND ($2::text IS NULL OR order_ref = $2)
  AND code_id = ANY ($3::uuid[]) AND ($4::uuid IS NULL OR coupon_id = $4)
  AND ($5::uuid IS NULL OR partner_id = $5) AND ($6::boolean IS NULL OR (voided_at IS NOT NULL) = $6)
  AND ($7::timestamptz IS NULL OR occurred_at >= $7) AND ($8::timestamptz IS NULL OR occurred_at < $8)
  AND (occurred_at, id) < ($9::timestamptz, $10::uuid) AND ($12::text IS NULL OR customer_key = $12)
ORDER BY occurred_at DESC, id DESC LIMIT $11
"""
LIST_OF_CUSTOMER = """
SELECT id FROM redemptions
WHERE program_id = $1 AND ($2::text IS NULL OR order_ref = $2)
  AND ($3::uuid[] IS NULL OR code_id = ANY ($3)) AND ($4::uuid IS NULL OR coupon_id = $4)
  AND ($5::uuid IS NULL OR partner_id = $5) AND ($6::boolean IS NULL OR (voided_at IS NOT NULL) = $6)
  AND occurred_at >= coalesce($7::timestamptz, '-infinity') AND occurred_at < coalesce($8::timestamptz, 'infinity')
  AND (occurred_at, id) < ($9::timestamptz, $10::uuid) AND customer_key = $12::text
ORDER BY occurred_at DESC, id DESC LIMIT $11
"""
LIST_OF_COUPON = """
SELECT id FROM redemptions
WHERE program_id = $1 AND ($2::text IS NULL OR order_ref = $2)
  AND ($3::uuid[] IS NULL OR code_id = ANY ($3)) AND coupon_id = $4::uuid
  AND ($5::uuid IS NULL OR partner_id = $5) AND ($6::boolean IS NULL OR (voided_at IS NOT NULL) = $6)
  AND occurred_at >= coalesce($7::timestamptz, '-infinity') AND occurred_at < coalesce($8::timestamptz, 'infinity')
  AND (occurred_at, id) < ($9::timestamptz, $10::uuid) AND ($12::text IS NULL OR customer_key = $12)
ORDER BY occurred_at DESC, id DESC LIMIT $11
"""
LIST_OF_PARTNER = """
SELECT id FROM redemptions
WHERE program_id = $1 AND ($2::text IS NULL OR order_ref = $2)
  AND ($3::uuid[] IS NULL OR code_id = ANY ($3)) AND ($4::uuid IS NULL OR coupon_id = $4)
  AND partner_id = $5::uuid AND ($6::boolean IS NULL OR (voided_at IS NOT NULL) = $6)
  AND occurred_at >= coalesce($7::timestamptz, '-infinity') AND occurred_at < coalesce($8::timestamptz, 'infinity')
  AND (occurred_at, id) < ($9::timestamptz, $10::uuid) AND ($12::text IS NULL OR customer_key = $12)
ORDER BY occurred_at DESC, id DESC LIMIT $11
"""
LIST_OF_VOIDED = """
SELECT id FROM redemptions
WHERE program_id = $1 AND ($2::text IS NULL OR order_ref = $2)
  AND ($3::uuid[] IS NULL OR code_id = ANY ($3)) AND ($4::uuid IS NULL OR coupon_id = $4)
  AND ($5::uuid IS NULL OR partner_id = $5) AND voided_at IS NOT NULL AND $6::boolean
  AND occurred_at >= coalesce($7::timestamptz, '-infinity') AND occurred_at < coalesce($8::timestamptz, 'infinity')
  AND (occurred_at, id) < ($9::timestamptz, $10::uuid) AND ($12::text IS NULL OR customer_key = $12)
ORDER BY occurred_at DESC, id DESC LIMIT $11
"""
LIST_OF_PROGRAM = """
SELECT id FROM redemptions
WHERE program_id = $1 AND ($2::text IS NULL OR order_ref = $2)
  AND ($3::uuid[] IS NULL OR code_id = ANY ($3)) AND ($4::uuid IS NULL OR coupon_id = $4)
  AND ($5::uuid IS NULL OR partner_id = $5) AND ($6::boolean IS NULL OR (voided_at IS NOT NULL) = $6)
  AND occurred_at >= coalesce($7::timestamptz, '-infinity') AND occurred_at < coalesce($8::timestamptz, 'infinity')
  AND (occurred_at, id) < ($9::timestamptz, $10::uuid) AND ($12::text IS NULL OR customer_key = $12)
ORDER BY occurred_at DESC, id DESC LIMIT $11
"""
# An archived coupon leaves its uuid_code to others: what bears it now comes first, then what bore it last. A coupon is
# found by any of its codes; without one there is nothing to list.
FIND_COUPON = """
(SELECT coupon_id FROM codes.redeemable_v1
 WHERE program_id = $1 AND coupon_uuid_code = $2 AND coupon_archived_at IS NULL AND code_archived_at IS NULL LIMIT 1)
UNION ALL
(SELECT coupon_id FROM codes.redeemable_v1
 WHERE program_id = $1 AND coupon_uuid_code = $2 AND code_archived_at IS NOT NULL
 ORDER BY coupon_archived_at DESC NULLS FIRST LIMIT 1)
LIMIT 1
"""
READ_RESERVATION = """
SELECT o.order_ref, o.reserved_at, o.reserved_until, h.canonical, h.code, h.code_id, h.coupon_id,
       h.customer_key, h.discount_minor, h.currency
FROM orders o JOIN holds h ON h.program_id = o.program_id AND h.order_ref = o.order_ref
WHERE o.reservation_id = $2 AND o.program_id = $1
ORDER BY h.canonical
"""
# What is let go needs no lock on its counters: a use becomes free, which harms nobody who decides meanwhile. The
# order's row comes first, in a statement of its own: whoever extends the reservation has it, and makes new rows below.
END_RESERVATION = """
UPDATE orders SET reservation_id = NULL, reserved_at = NULL, reserved_until = NULL
WHERE reservation_id = $2 AND program_id = $1
RETURNING order_ref
"""
DELETE_HOLDS = "DELETE FROM holds WHERE program_id = $1 AND order_ref = $2"
# A purchase may be reported a day late, and what was reserved then still counts for it.
FIND_OLD_RESERVATIONS = """
SELECT program_id, reservation_id FROM orders WHERE reserved_until < $1
ORDER BY reserved_until LIMIT $2 FOR UPDATE SKIP LOCKED
"""


_BEFORE_THE_FIRST: Final = (datetime.max.replace(tzinfo=UTC), uuid.UUID(int=2**128 - 1))


async def list_redemptions(
    connection: Connection, wanted: RedemptionFilter, last: tuple[datetime, uuid.UUID] | None, limit: int
) -> list[Redemption]:
    """Return redemptions after the last one of the page before, the latest first."""
    parameters = (
        wanted.program_id,
        wanted.order_ref,
        wanted.code_ids,
        wanted.coupon_id,
        wanted.partner_id,
        wanted.is_voided,
        wanted.occurred_from,
        wanted.occurred_before,
        *(last or _BEFORE_THE_FIRST),
        limit,
        wanted.customer_key,
    )
    if wanted.order_ref is not None:
        rows = await connection.fetch(LIST_OF_ORDER, *parameters)
    elif wanted.code_ids is not None:
        rows = await connection.fetch(LIST_OF_CODES, *parameters)
    elif wanted.customer_key is not None:
        rows = await connection.fetch(LIST_OF_CUSTOMER, *parameters)
    elif wanted.coupon_id is not None:
        rows = await connection.fetch(LIST_OF_COUPON, *parameters)
    elif wanted.partner_id is not None:
        rows = await connection.fetch(LIST_OF_PARTNER, *parameters)
    elif wanted.is_voided:
        rows = await connection.fetch(LIST_OF_VOIDED, *parameters)
    else:
        rows = await connection.fetch(LIST_OF_PROGRAM, *parameters)
    return await read_redemptions(connection, wanted.program_id, [row["id"] for row in rows])


async def find_coupon(connection: Connection, program_id: uuid.UUID, uuid_code: str) -> uuid.UUID | None:
    """Return the coupon that bears a uuid_code, or bore it last."""
    found: uuid.UUID | None = await connection.fetchval(FIND_COUPON, program_id, uuid_code)
    return found


async def read_redemptions(connection: Connection, program_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> list[Redemption]:
    """Return redemptions of a program by id, the latest first."""
    return [Redemption(*row) for row in await connection.fetch(READ_REDEMPTIONS, program_id, ids)]


async def read_reservation(
    connection: Connection, program_id: uuid.UUID, reservation_id: uuid.UUID, now: datetime
) -> Reservation | None:
    """Return a reservation, live or expired."""
    rows = await connection.fetch(READ_RESERVATION, program_id, reservation_id)
    if not rows:
        return None
    first = rows[0]
    return Reservation(
        reservation_id,
        first["order_ref"],
        tuple(HeldCode(*tuple(row)[3:]) for row in rows),
        first["reserved_at"],
        first["reserved_until"],
        first["reserved_until"] > now,
    )


async def release_reservation(connection: Connection, program_id: uuid.UUID, reservation_id: uuid.UUID) -> bool:
    """End a reservation, inside a transaction; False if there is none."""
    order_ref = await connection.fetchval(END_RESERVATION, program_id, reservation_id)
    if order_ref is None:
        return False
    await connection.execute(DELETE_HOLDS, program_id, order_ref)
    return True


async def purge_reservations(connection: Connection, ended_before: datetime, limit: int) -> int:
    """Remove reservations that ended long ago, inside a transaction, and return how many there were."""
    old = await connection.fetch(FIND_OLD_RESERVATIONS, ended_before, limit)
    for row in old:
        await release_reservation(connection, row["program_id"], row["reservation_id"])
    return len(old)
