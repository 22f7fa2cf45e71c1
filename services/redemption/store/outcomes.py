"""What a decision writes, in the transaction that holds its locks."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final, NamedTuple

from services.redemption.domain.books import Count, OrderBook, PeriodKey, Redemption
from services.redemption.domain.customers import CustomerKey
from services.redemption.domain.purchase import OrderKey
from services.redemption.domain.settlement import backs_text
from shared.database.outbox import LEASE_SECONDS
from shared.database.pool import Connection
from shared.events.envelope import OutboxEvent

# The rows are there and locked; an upsert finds each by its key, whatever the planner believes about the tables.
INSERT_REDEMPTIONS = """
WITH counted_code AS (
    INSERT INTO code_counters AS n (code_id, uses, version, use_limit, held_until)
    SELECT * FROM unnest($40::uuid[], $41::int[], $42::bigint[], $43::int[], $44::timestamptz[])
    ON CONFLICT (code_id) DO UPDATE
    SET uses = excluded.uses, version = excluded.version, use_limit = excluded.use_limit,
        held_until = greatest(n.held_until, excluded.held_until)
), counted_coupon AS (
    INSERT INTO coupon_counters AS n (coupon_id, uses, version, use_limit, held_until, has_periods, period_zone,
                                      spent_minor, spent_currency, spend_limit)
    SELECT * FROM unnest($45::uuid[], $46::int[], $47::bigint[], $48::int[], $49::timestamptz[], $50::boolean[],
                         $51::text[], $52::bigint[], $53::text[], $54::bigint[])
    ON CONFLICT (coupon_id) DO UPDATE
    SET uses = excluded.uses, version = excluded.version, use_limit = excluded.use_limit,
        held_until = greatest(n.held_until, excluded.held_until), has_periods = n.has_periods OR excluded.has_periods,
        period_zone = excluded.period_zone,
        spent_minor = excluded.spent_minor, spent_currency = excluded.spent_currency,
        spend_limit = excluded.spend_limit
), written_event AS (
    INSERT INTO events (id, type, body) SELECT * FROM unnest($55::uuid[], $56::text[], $57::bytea[])
    RETURNING id
), pending_event AS (
    INSERT INTO outbox (event_id, leased_until)
    SELECT id, clock_timestamp() + make_interval(secs => $58) FROM written_event
)
INSERT INTO redemptions (id, program_id, order_ref, canonical, code, code_id, coupon_id, partner_id, customer_id,
                         customer_key, discount_type, percent_hundredths, amount_minor, discount_minor, currency,
                         subtotal_minor, commission_hundredths, commission_minor, discount_ends_at, release_policy,
                         release_until, occurred_at, confirmed_at, is_counted, voided_at, void_reason, terms,
                         claimed_at, clock, lines, combination, commission_cap_hundredths, commission_version,
                         is_self_referral, mailbox_key, purchases, is_voided_alone, prices, attributes,
                         decided_at, is_mailbox_kept)
SELECT r.*, $39, true
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::uuid[], $9::text[],
            $10::text[], $11::text[], $12::int[], $13::bigint[], $14::bigint[], $15::text[], $16::bigint[],
            $17::int[], $18::bigint[], $19::timestamptz[], $20::text[], $21::timestamptz[], $22::timestamptz[],
            $23::timestamptz[], $24::boolean[], $25::timestamptz[], $26::text[], $27::json[], $28::timestamptz[],
            $29::text[], $30::json[], $31::text[], $32::int[], $33::int[], $34::boolean[],
            $35::text[], $36::json[], $37::boolean[], $38::json[], $59::json[]) AS r
"""
UPDATE_REDEMPTIONS = """
UPDATE redemptions r
SET confirmed_at = u.confirmed_at, is_counted = u.is_counted, voided_at = u.voided_at, void_reason = u.void_reason,
    claimed_at = u.claimed_at, clock = u.clock, commission_minor = u.commission_minor,
    commission_version = u.commission_version, purchases = u.purchases, is_voided_alone = u.is_voided_alone
FROM unnest($1::uuid[], $2::timestamptz[], $3::boolean[], $4::timestamptz[], $5::text[], $6::timestamptz[], $7::text[],
            $8::bigint[], $9::int[], $10::json[], $11::boolean[])
    AS u (id, confirmed_at, is_counted, voided_at, void_reason, claimed_at, clock, commission_minor,
          commission_version, purchases, is_voided_alone)
WHERE r.id = ANY ($1::uuid[]) AND r.id = u.id AND (r.voided_at IS NULL OR r.voided_at = u.voided_at)
"""
WRITE_LIMITS = """
WITH counted_customer AS (
    INSERT INTO customer_counters (coupon_id, customer_key, uses, use_limit)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[])
    ON CONFLICT (coupon_id, customer_key) DO UPDATE SET uses = excluded.uses, use_limit = excluded.use_limit
)
INSERT INTO period_counters (coupon_id, period, starts_at, uses, use_limit)
SELECT * FROM unnest($5::uuid[], $6::text[], $7::timestamptz[], $8::int[], $9::int[])
ON CONFLICT (coupon_id, period, starts_at) DO UPDATE SET uses = excluded.uses, use_limit = excluded.use_limit
"""
FORGET_PERIODS = "DELETE FROM period_counters WHERE coupon_id = ANY ($1::uuid[])"
# What was touched is looked at again when that is long ago; see `store.retention`.
WRITE_ORDERS = """
INSERT INTO orders (program_id, order_ref, created_at, touched_at, cancelled_at, cancel_reason, has_refunds,
                    reservation_id, reserved_at, reserved_until, cancel_claimed_at, cancel_clock, cancelled_besides,
                    cancel_releases)
SELECT u.program_id, u.order_ref, $13, $13, u.cancelled_at, u.cancel_reason, u.has_refunds, u.reservation_id,
       u.reserved_at, u.reserved_until, u.cancel_claimed_at, u.cancel_clock, u.cancelled_besides,
       u.cancel_releases
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::boolean[], $6::uuid[], $7::timestamptz[],
            $8::timestamptz[], $9::timestamptz[], $10::text[], $11::json[], $12::boolean[])
    AS u (program_id, order_ref, cancelled_at, cancel_reason, has_refunds, reservation_id, reserved_at, reserved_until,
          cancel_claimed_at, cancel_clock, cancelled_besides, cancel_releases)
ON CONFLICT (program_id, order_ref) DO UPDATE
SET cancelled_at = excluded.cancelled_at, cancel_reason = excluded.cancel_reason, has_refunds = excluded.has_refunds,
    reservation_id = excluded.reservation_id, reserved_at = excluded.reserved_at,
    reserved_until = excluded.reserved_until, touched_at = excluded.touched_at,
    cancel_claimed_at = excluded.cancel_claimed_at, cancel_clock = excluded.cancel_clock,
    cancelled_besides = excluded.cancelled_besides, cancel_releases = excluded.cancel_releases
"""
# The two arrays are no join, as for holds.
DELETE_IDLE_ORDERS = """
DELETE FROM orders d USING unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
WHERE d.program_id = ANY ($1::uuid[]) AND d.order_ref = ANY ($2::text[])
  AND d.program_id = o.program_id AND d.order_ref = o.order_ref
"""
# The two arrays are no join: they make the index the way to the rows, however small the table looks.
DELETE_HOLDS = """
DELETE FROM holds h USING unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
WHERE h.program_id = ANY ($1::uuid[]) AND h.order_ref = ANY ($2::text[])
  AND h.program_id = o.program_id AND h.order_ref = o.order_ref
"""
INSERT_HOLDS = """
INSERT INTO holds (program_id, order_ref, expires_at, canonical, code, code_id, coupon_id, customer_key,
                   discount_minor, currency, lines, mailbox_key)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::uuid[], $7::uuid[],
                     $8::text[], $9::bigint[], $10::text[], $11::json[], $12::text[])
"""
INSERT_REFUNDS = """
INSERT INTO refunds (id, program_id, order_ref, amount_minor, reason, occurred_at, claimed_at, clock, releases,
                     recorded_at)
SELECT r.*, $10
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[], $7::timestamptz[],
            $8::text[], $9::boolean[]) AS r
"""
_REDEMPTION: Final = attrgetter(*Redemption.__dataclass_fields__)
_REDEMPTION_COLUMNS: Final = len(Redemption.__dataclass_fields__)


class CodeCountRow(NamedTuple):
    """A code's counter as it is to be from now on; the members stand in the order of the statement."""

    id: uuid.UUID
    uses: int
    version: int
    use_limit: int | None
    held_until: datetime | None


class CouponCountRow(NamedTuple):
    """A coupon's counter as it is to be from now on; the members stand in the order of the statement."""

    id: uuid.UUID
    uses: int
    version: int
    use_limit: int | None
    held_until: datetime | None
    has_periods: bool
    period_zone: str | None
    spent_minor: int | None
    spent_currency: str | None
    spend_limit: int | None


class RefundRow(NamedTuple):
    """A part of what was paid that went back; the members stand in the order of the statement."""

    id: uuid.UUID
    program_id: uuid.UUID
    order_ref: str
    amount_minor: int
    reason: str | None
    occurred_at: datetime
    claimed_at: datetime
    clock: str | None
    releases: bool | None


async def insert_redemptions(
    connection: Connection,
    redemptions: Sequence[Redemption],
    codes: Sequence[CodeCountRow],
    *,
    coupons: Sequence[CouponCountRow],
    events: Sequence[OutboxEvent],
    attributes: Mapping[uuid.UUID, str],
    decided_at: datetime,
) -> None:
    """Write redemptions, the counters that moved, which must be locked, and the events of all that is decided.

    `attributes` are those of purchases, as JSON, by the redemption that they are kept with. The events are written
    here, since nearly every batch redeems something: one round trip less for it.
    """
    await connection.execute(
        INSERT_REDEMPTIONS,
        *_columns([_REDEMPTION(redemption) for redemption in redemptions], _REDEMPTION_COLUMNS),
        decided_at,
        *_columns(codes, len(CodeCountRow._fields)),
        *_columns(coupons, len(CouponCountRow._fields)),
        [event.id for event in events],
        [event.type for event in events],
        [event.body for event in events],
        LEASE_SECONDS,
        [attributes.get(redemption.id) for redemption in redemptions],
    )


async def update_redemptions(connection: Connection, redemptions: Collection[Redemption]) -> None:
    """Write what became of redemptions; one that is voided stays voided, as it was."""
    rows = [
        (
            r.id,
            r.confirmed_at,
            r.is_counted,
            r.voided_at,
            r.void_reason,
            r.claimed_at,
            r.clock,
            r.commission_minor,
            r.commission_version,
            r.purchases,
            r.is_voided_alone,
        )
        for r in redemptions
    ]
    await connection.execute(UPDATE_REDEMPTIONS, *_columns(rows, 11))


async def write_limits(
    connection: Connection,
    moved_coupons: Sequence[uuid.UUID],
    customers: Iterable[tuple[CustomerKey, Count, int | None]],
    periods: Iterable[tuple[PeriodKey, Count, int | None]],
) -> None:
    """Write counts of customers and periods, each with its limit; of moved coupons no other periods are counted."""
    if moved_coupons:
        await connection.execute(FORGET_PERIODS, moved_coupons)
    customer_rows = [(*key[:2], count.uses, limit) for key, count, limit in customers]
    period_rows = [(*key, count.uses, limit) for key, count, limit in periods]
    if customer_rows or period_rows:
        await connection.execute(WRITE_LIMITS, *_columns(customer_rows, 4), *_columns(period_rows, 5))


async def write_orders(connection: Connection, orders: Mapping[OrderKey, OrderBook], now: datetime) -> None:
    """Write what became of locked orders: cancellations, refunds and reservations with what they hold."""
    rows = [
        (
            *key,
            book.cancelled.known_at if book.cancelled else None,
            book.cancel_reason,
            bool(book.refunds),
            book.reservation_id,
            book.reserved_at,
            book.reserved_until,
            book.cancelled.claimed_at if book.cancelled else None,
            book.cancelled.clock if book.cancelled else None,
            backs_text(book.cancellations[1:]) if book.cancellations[1:] else None,
            book.cancellations[0].releases if book.cancellations else None,
        )
        for key, book in orders.items()
    ]
    await connection.execute(WRITE_ORDERS, *_columns(rows, 12), now)
    await connection.execute(DELETE_HOLDS, [key[0] for key in orders], [key[1] for key in orders])
    holds = [
        (
            *key,
            book.reserved_until,
            held.canonical,
            held.code,
            held.code_id,
            held.coupon_id,
            held.customer_key,
            held.discount_minor,
            held.currency,
            held.lines,
            held.mailbox_key,
        )
        for key, book in orders.items()
        for held in book.held
    ]
    if holds:
        await connection.execute(INSERT_HOLDS, *_columns(holds, 12))


async def delete_idle_orders(connection: Connection, orders: Collection[OrderKey]) -> None:
    """Remove the rows of orders that this transaction has made and of which nothing came: who waits makes its own."""
    await connection.execute(DELETE_IDLE_ORDERS, [key[0] for key in orders], [key[1] for key in orders])


async def insert_refunds(connection: Connection, rows: Sequence[RefundRow], recorded_at: datetime) -> None:
    """Write down what was paid back."""
    await connection.execute(INSERT_REFUNDS, *_columns(rows, len(RefundRow._fields)), recorded_at)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
