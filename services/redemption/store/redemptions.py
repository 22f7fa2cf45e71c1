"""Reads of redemptions and reservations, and the end of a reservation."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from services.redemption.domain.books import HeldCode, Redemption, Reservation
from services.redemption.domain.listing import Place, RedemptionFilter, RedemptionPage
from shared.bounded_counts import MOST_COUNTED, MOST_SCANNED, BoundedCount
from shared.database.bounded_counts import count_of_rows
from shared.database.pool import Connection, affected
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import FIRST_ID, LAST_ID

# How many redemptions a filtered page reads, and from how many codes of one string.
SCANNED_PER_PAGE: Final = 2_000
MOST_CODES: Final = 100
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)

READ_REDEMPTIONS = """
SELECT id, program_id, order_ref, canonical, code, code_id, coupon_id, partner_id, customer_id, customer_key,
       discount_type, percent_hundredths, amount_minor, discount_minor, currency, subtotal_minor,
       commission_hundredths, commission_minor, discount_ends_at, release_policy, release_until, occurred_at,
       confirmed_at, is_counted, voided_at, void_reason, terms, claimed_at, clock, lines, combination,
       commission_cap_hundredths, commission_version, is_self_referral, mailbox_key, purchases, is_voided_alone,
       prices
FROM redemptions WHERE id = ANY ($2::uuid[]) AND program_id = $1
ORDER BY occurred_at DESC, id DESC
"""
# A coupon that never had a limit is not counted here.
READ_COUNTS = """
SELECT coalesce((SELECT uses FROM code_counters WHERE code_id = $1), 0) AS code_uses,
       (SELECT uses FROM coupon_counters WHERE coupon_id = $2) AS coupon_uses
"""
# One of the branches runs, that of the narrowest given filter, along an index in the right order; the others are not
# even started. A page reads a bounded number of redemptions, whatever the filter: it can be short or empty without
# being the last. The last row, a mark, tells where to continue.
#
# Bounds instead of an equal sign and an order by every column of the index: otherwise a cached plan might use another
# index, through rows that do not match. A coupon or a partner belongs to one program, so one of its redemptions shows
# whether it is this one; those of another program are not even read.
LIST_REDEMPTIONS = Statement("""
WITH scanned AS MATERIALIZED (
    (SELECT id, order_ref, code_id, coupon_id, partner_id, customer_key, voided_at, occurred_at FROM (
        SELECT id, order_ref, code_id, coupon_id, partner_id, customer_key, voided_at, occurred_at FROM redemptions
        WHERE $way = 'order' AND program_id = $program_id AND order_ref = $order_ref OFFSET 0) of_order
     WHERE occurred_at >= $since AND (occurred_at, id) < ($before, $before_id)
     ORDER BY occurred_at DESC, id DESC LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, order_ref, code_id, coupon_id, partner_id, customer_key, voided_at, occurred_at FROM redemptions
     WHERE $way = 'customer'
       AND (program_id, customer_key, occurred_at, id) < ($program_id, $customer_key, $before, $before_id)
       AND (program_id, customer_key, occurred_at) >= ($program_id, $customer_key, $since) AND customer_key IS NOT NULL
     ORDER BY program_id DESC, customer_key DESC, occurred_at DESC, id DESC LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, order_ref, code_id, coupon_id, partner_id, customer_key, voided_at, occurred_at FROM redemptions
     WHERE $way = 'coupon' AND (coupon_id, occurred_at, id) < ($coupon_id, $before, $before_id)
       AND (coupon_id, occurred_at) >= ($coupon_id, $since)
       AND $program_id = (SELECT program_id FROM redemptions WHERE coupon_id >= $coupon_id AND coupon_id <= $coupon_id
                 ORDER BY coupon_id, occurred_at, id LIMIT 1)
     ORDER BY coupon_id DESC, occurred_at DESC, id DESC LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, order_ref, code_id, coupon_id, partner_id, customer_key, voided_at, occurred_at FROM redemptions
     WHERE $way = 'partner' AND (partner_id, occurred_at, id) < ($partner_id, $before, $before_id)
       AND (partner_id, occurred_at) >= ($partner_id, $since)
       AND partner_id IS NOT NULL
       AND $program_id = (SELECT program_id FROM redemptions WHERE partner_id >= $partner_id
       AND partner_id <= $partner_id
                 ORDER BY partner_id, occurred_at, id LIMIT 1)
     ORDER BY partner_id DESC, occurred_at DESC, id DESC LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, order_ref, code_id, coupon_id, partner_id, customer_key, voided_at, occurred_at FROM redemptions
     WHERE $way = 'voided' AND (program_id, occurred_at, id) < ($program_id, $before, $before_id)
       AND (program_id, occurred_at) >= ($program_id, $since)
       AND voided_at IS NOT NULL
     ORDER BY program_id DESC, occurred_at DESC, id DESC LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, order_ref, code_id, coupon_id, partner_id, customer_key, voided_at, occurred_at FROM redemptions
     WHERE $way = 'program' AND (program_id, occurred_at, id) < ($program_id, $before, $before_id)
       AND (program_id, occurred_at) >= ($program_id, $since)
     ORDER BY program_id DESC, occurred_at DESC, id DESC LIMIT (SELECT $scanned::bigint))
), chosen AS (
    SELECT id, occurred_at FROM scanned
    WHERE ($order_ref::text IS NULL OR order_ref = $order_ref) AND ($coupon_id::uuid IS NULL OR coupon_id = $coupon_id)
      AND ($partner_id::uuid IS NULL OR partner_id = $partner_id)
      AND ($is_voided::boolean IS NULL OR (voided_at IS NOT NULL) = $is_voided)
      AND ($customer_key::text IS NULL OR customer_key = $customer_key)
      AND ($code_ids::uuid[] IS NULL OR code_id = ANY ($code_ids))
    ORDER BY occurred_at DESC, id DESC LIMIT $limit
), mark AS (
    SELECT id, occurred_at FROM scanned ORDER BY occurred_at, id LIMIT 1
)
SELECT id, occurred_at, false AS is_mark FROM chosen
UNION ALL
SELECT id, occurred_at, true FROM mark WHERE (SELECT count(*) FROM scanned) = $scanned
""")
# For the codes that have or had a string: an equal share of the rows for each, but at least a page. Rows older than the
# last one read of any code with more are left to the next page.
LIST_OF_CODES = Statement("""
WITH share AS MATERIALIZED (
    SELECT greatest($limit::bigint, $scanned::bigint / greatest(1, cardinality($code_ids::uuid[]))) AS size
), scanned AS MATERIALIZED (
    SELECT f.* FROM unnest($code_ids::uuid[]) AS c (id) CROSS JOIN LATERAL (
        SELECT id, order_ref, coupon_id, partner_id, customer_key, voided_at, occurred_at,
               row_number() OVER (ORDER BY occurred_at DESC, id DESC) AS place
        FROM (SELECT id, order_ref, coupon_id, partner_id, customer_key, voided_at, occurred_at FROM redemptions
              WHERE (code_id, occurred_at, id) < (c.id, $before, $before_id)
                AND (code_id, occurred_at) >= (c.id, $since)
              ORDER BY code_id DESC, occurred_at DESC, id DESC LIMIT (SELECT size FROM share)) AS newest) AS f
), mark AS MATERIALIZED (
    SELECT id, occurred_at FROM scanned WHERE place = (SELECT size FROM share)
    ORDER BY occurred_at DESC, id DESC LIMIT 1
), chosen AS (
    SELECT s.id, s.occurred_at FROM scanned s
    WHERE NOT EXISTS (SELECT FROM mark m WHERE (s.occurred_at, s.id) < (m.occurred_at, m.id))
      AND ($order_ref::text IS NULL OR order_ref = $order_ref) AND ($coupon_id::uuid IS NULL OR coupon_id = $coupon_id)
      AND ($partner_id::uuid IS NULL OR partner_id = $partner_id)
      AND ($is_voided::boolean IS NULL OR (voided_at IS NOT NULL) = $is_voided)
      AND ($customer_key::text IS NULL OR customer_key = $customer_key)
    ORDER BY s.occurred_at DESC, s.id DESC LIMIT $limit
)
SELECT id, occurred_at, false AS is_mark FROM chosen
UNION ALL
SELECT id, occurred_at, true FROM mark
""")
# The live code of a string first, then the latest earlier ones.
FIND_CODES = """
(SELECT code_id FROM codes.redeemable_v1
 WHERE program_id = $1 AND canonical = $2 AND code_archived_at IS NULL LIMIT $3)
UNION ALL
(SELECT code_id FROM codes.redeemable_v1
 WHERE program_id = $1 AND canonical = $2 AND code_archived_at IS NOT NULL LIMIT $3)
LIMIT $3
"""
# An archived coupon releases its uuid_code: the present owner comes first, then the last one.
FIND_COUPON = """
(SELECT coupon_id FROM codes.coupon_v1 WHERE program_id = $1 AND uuid_code = $2 AND archived_at IS NULL)
UNION ALL
(SELECT coupon_id FROM codes.coupon_v1 WHERE program_id = $1 AND uuid_code = $2 AND archived_at IS NOT NULL
 ORDER BY archived_at DESC LIMIT 1)
LIMIT 1
"""
READ_RESERVATION = """
SELECT o.order_ref, o.reserved_at, o.reserved_until, h.canonical, h.code, h.code_id, h.coupon_id,
       h.customer_key, h.discount_minor, h.currency, h.lines, h.mailbox_key
FROM orders o JOIN holds h ON h.program_id = o.program_id AND h.order_ref = o.order_ref
WHERE o.reservation_id = $2 AND o.program_id = $1
ORDER BY h.canonical
"""
# A release needs no lock on the counters: a use becomes free, which harms no concurrent decision. The order's row comes
# first, in a separate statement: a transaction that extends the reservation holds it, and creates new rows below.
END_RESERVATION = """
UPDATE orders SET reservation_id = NULL, reserved_at = NULL, reserved_until = NULL
WHERE reservation_id = $2 AND program_id = $1
RETURNING order_ref
"""
DELETE_HOLDS = "DELETE FROM holds WHERE program_id = $1 AND order_ref = $2"
FIND_OLD_RESERVATIONS = """
SELECT program_id, reservation_id FROM orders WHERE reserved_until < $1
ORDER BY reserved_until LIMIT $2 FOR UPDATE SKIP LOCKED
"""


async def list_redemptions(
    connection: Connection, wanted: RedemptionFilter, last: Place | None, limit: int, scanned: int = SCANNED_PER_PAGE
) -> RedemptionPage:
    """Return up to `limit` redemptions after the last one of the previous page, latest first."""
    rows = await _listed(connection, wanted, last, limit + 1, scanned)
    places = sorted(((row["occurred_at"], row["id"]) for row in rows if not row["is_mark"]), reverse=True)
    found = await read_redemptions(connection, wanted.program_id, [place[1] for place in places[:limit]])
    if len(places) > limit:
        return RedemptionPage(found, places[limit - 1])
    return RedemptionPage(found, next(((row["occurred_at"], row["id"]) for row in rows if row["is_mark"]), None))


async def count_redemptions(connection: Connection, wanted: RedemptionFilter) -> BoundedCount:
    """Count the redemptions of a list."""
    rows = await _listed(connection, wanted, None, MOST_COUNTED + 1, MOST_SCANNED)
    return count_of_rows(rows)


async def _listed(
    connection: Connection, wanted: RedemptionFilter, last: Place | None, limit: int, scanned: int
) -> list[Any]:
    way = _way(wanted)
    before, before_id = _before(wanted, last)
    listed = {
        **_WANTED.of(wanted),
        "since": wanted.occurred_from or _FIRST,
        "before": before,
        "before_id": before_id,
        "limit": limit,
        "scanned": limit if _is_all(wanted, way) else max(scanned, limit),
    }
    if way == "codes":
        # Found by program and string, so they belong to the program.
        return await connection.fetch(*LIST_OF_CODES(**listed))
    return await connection.fetch(*LIST_REDEMPTIONS(**listed, program_id=wanted.program_id, way=way))


async def find_codes(connection: Connection, program_id: uuid.UUID, canonical: str) -> list[uuid.UUID]:
    """Return the code that has a string, and those that had it, up to a limit."""
    return [row["code_id"] for row in await connection.fetch(FIND_CODES, program_id, canonical, MOST_CODES)]


async def find_coupon(connection: Connection, program_id: uuid.UUID, uuid_code: str) -> uuid.UUID | None:
    """Return the coupon that has a uuid_code, or had it last."""
    found: uuid.UUID | None = await connection.fetchval(FIND_COUPON, program_id, uuid_code)
    return found


async def read_redemptions(connection: Connection, program_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> list[Redemption]:
    """Return redemptions of a program by id, latest first."""
    return [to_redemption(row) for row in await connection.fetch(READ_REDEMPTIONS, program_id, ids)]


async def read_counts(connection: Connection, code_id: uuid.UUID, coupon_id: uuid.UUID) -> tuple[int, int | None]:
    """Return the uses of a code and of its coupon; the latter is None if they are not counted."""
    [row] = await connection.fetch(READ_COUNTS, code_id, coupon_id)
    return row["code_uses"], row["coupon_uses"]


async def read_reservation(
    connection: Connection, program_id: uuid.UUID, reservation_id: uuid.UUID, now: datetime
) -> Reservation | None:
    """Return a reservation, live or expired."""
    rows = await connection.fetch(READ_RESERVATION, program_id, reservation_id)
    if not rows:
        return None
    first = rows[0]
    return Reservation(
        id=reservation_id,
        order_ref=first["order_ref"],
        held=tuple(to_held_code(row) for row in rows),
        reserved_at=first["reserved_at"],
        expires_at=first["reserved_until"],
        is_live=first["reserved_until"] > now,
    )


async def release_reservation(connection: Connection, program_id: uuid.UUID, reservation_id: uuid.UUID) -> bool:
    """End a reservation, inside a transaction; False if there is none."""
    return await _end(connection, program_id, reservation_id) is not None


async def purge_reservations(connection: Connection, ended_before: datetime, limit: int) -> int:
    """Remove up to `limit` reservations that ended before a time; return the number of holds, at least one each.

    Call inside a transaction.
    """
    holds = 0
    for row in await connection.fetch(FIND_OLD_RESERVATIONS, ended_before, limit):
        holds += await _end(connection, row["program_id"], row["reservation_id"]) or 0
    return holds


async def _end(connection: Connection, program_id: uuid.UUID, reservation_id: uuid.UUID) -> int | None:
    order_ref = await connection.fetchval(END_RESERVATION, program_id, reservation_id)
    if order_ref is None:
        return None
    return affected(await connection.execute(DELETE_HOLDS, program_id, order_ref))


def _way(wanted: RedemptionFilter) -> str:
    """Return the branch to use: that of the narrowest given filter."""
    ways = (
        ("order", wanted.order_ref is not None),
        ("codes", wanted.code_ids is not None),
        ("customer", wanted.customer_key is not None),
        ("coupon", wanted.coupon_id is not None),
        ("partner", wanted.partner_id is not None),
        ("voided", bool(wanted.is_voided)),
    )
    return next((way for way, is_asked_for in ways if is_asked_for), "program")


def _is_all(wanted: RedemptionFilter, way: str) -> bool:
    """Whether every row of the branch matches, apart from the bounds in time."""
    asked = {
        "order": wanted.order_ref,
        "codes": wanted.code_ids,
        "customer": wanted.customer_key,
        "coupon": wanted.coupon_id,
        "partner": wanted.partner_id,
        "voided": wanted.is_voided,
    }
    return all(member is None or name == way for name, member in asked.items())


def _before(wanted: RedemptionFilter, last: Place | None) -> Place:
    end = (_LAST, LAST_ID) if wanted.occurred_before is None else (wanted.occurred_before, FIRST_ID)
    return end if last is None else min(last, end)


to_redemption: Final = Rows(Redemption)
to_held_code: Final = Rows(HeldCode)
_WANTED: Final = Values(LIST_OF_CODES.names, RedemptionFilter, *("since", "before", "before_id", "limit", "scanned"))
