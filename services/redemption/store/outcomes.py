"""The writes of decisions, in the transaction that holds the locks."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from services.redemption.domain.books import Count, HeldCode, OrderBook, PeriodKey, Redemption
from services.redemption.domain.customers import CustomerKey
from services.redemption.domain.purchase import OrderKey
from services.redemption.domain.settlement import backs_text
from shared.database.outbox import LEASE_SECONDS
from shared.database.pool import Connection
from shared.database.rows import Statement, Values, sparse
from shared.events.envelope import OutboxEvent

# The rows exist and are locked; an upsert finds each by its key, whatever the planner assumes about the tables.
INSERT_REDEMPTIONS = Statement("""
WITH counted_code AS (
    INSERT INTO code_counters AS n (code_id, uses, version, use_limit, held_until)
    SELECT * FROM @c(id uuid, uses int, version bigint, use_limit int, held_until timestamptz)
    ON CONFLICT (code_id) DO UPDATE
    SET uses = excluded.uses, version = excluded.version, use_limit = excluded.use_limit,
        held_until = greatest(n.held_until, excluded.held_until)
), counted_coupon AS (
    INSERT INTO coupon_counters AS n (coupon_id, uses, version, use_limit, held_until, has_periods, period_zone,
                                      spent_minor, spent_currency, spend_limit)
    SELECT * FROM @k(id uuid, uses int, version bigint, use_limit int, held_until timestamptz, has_periods boolean,
                     period_zone text, spent_minor bigint, spent_currency text, spend_limit bigint)
    ON CONFLICT (coupon_id) DO UPDATE
    SET uses = excluded.uses, version = excluded.version, use_limit = excluded.use_limit,
        held_until = greatest(n.held_until, excluded.held_until), has_periods = n.has_periods OR excluded.has_periods,
        period_zone = excluded.period_zone,
        spent_minor = excluded.spent_minor, spent_currency = excluded.spent_currency,
        spend_limit = excluded.spend_limit
), written_event AS (
    INSERT INTO events (id, type, body) SELECT * FROM @e(id uuid, type text, body bytea)
    RETURNING id
), pending_event AS (
    INSERT INTO outbox (event_id, leased_until)
    SELECT id, clock_timestamp() + make_interval(secs => $lease_seconds) FROM written_event
)
INSERT INTO redemptions (id, program_id, order_ref, canonical, code, code_id, coupon_id, partner_id, customer_id,
                         customer_key, discount_type, percent_hundredths, amount_minor, discount_minor, currency,
                         subtotal_minor, commission_hundredths, commission_minor, discount_ends_at, release_policy,
                         release_until, occurred_at, confirmed_at, is_counted, voided_at, void_reason, terms,
                         claimed_at, clock, lines, combination, commission_cap_hundredths, commission_version,
                         is_self_referral, mailbox_key, purchases, is_voided_alone, prices, attributes,
                         left_out, decided_at, is_mailbox_kept)
SELECT r.*, $decided_at, true
FROM @r(id uuid, program_id uuid, order_ref text, canonical text, code text, code_id uuid, coupon_id uuid,
        partner_id uuid, customer_id text, customer_key text, discount_type text, percent_hundredths int,
        amount_minor bigint, discount_minor bigint, currency text, subtotal_minor bigint, commission_hundredths int,
        commission_minor bigint, discount_ends_at timestamptz, release_policy text, release_until timestamptz,
        occurred_at timestamptz, confirmed_at timestamptz, is_counted boolean, voided_at timestamptz,
        void_reason text, terms json, claimed_at timestamptz, clock text, lines json, combination text,
        commission_cap_hundredths int, commission_version int, is_self_referral boolean, mailbox_key text,
        purchases json, is_voided_alone boolean, prices json, attributes json, left_out json)
""")
UPDATE_REDEMPTIONS = Statement("""
UPDATE redemptions r
SET confirmed_at = u.confirmed_at, is_counted = u.is_counted, voided_at = u.voided_at, void_reason = u.void_reason,
    claimed_at = u.claimed_at, clock = u.clock, commission_minor = u.commission_minor,
    commission_version = u.commission_version, purchases = u.purchases, is_voided_alone = u.is_voided_alone
FROM @u(id uuid, confirmed_at timestamptz, is_counted boolean, voided_at timestamptz, void_reason text,
        claimed_at timestamptz, clock text, commission_minor bigint, commission_version int, purchases json,
        is_voided_alone boolean)
WHERE r.id = ANY ($u.id::uuid[]) AND r.id = u.id AND (r.voided_at IS NULL OR r.voided_at = u.voided_at)
""")
WRITE_LIMITS = Statement("""
WITH counted_customer AS (
    INSERT INTO customer_counters (coupon_id, customer_key, uses, use_limit)
    SELECT * FROM @c(coupon_id uuid, customer_key text, uses int, use_limit int)
    ON CONFLICT (coupon_id, customer_key) DO UPDATE SET uses = excluded.uses, use_limit = excluded.use_limit
)
INSERT INTO period_counters (coupon_id, period, starts_at, uses, use_limit)
SELECT * FROM @p(coupon_id uuid, period text, starts_at timestamptz, uses int, use_limit int)
ON CONFLICT (coupon_id, period, starts_at) DO UPDATE SET uses = excluded.uses, use_limit = excluded.use_limit
""")
FORGET_PERIODS = "DELETE FROM period_counters WHERE coupon_id = ANY ($1::uuid[])"
# Changed orders are checked again much later; see `store.retention`.
WRITE_ORDERS = Statement("""
WITH held_code AS (
    INSERT INTO code_counters AS n (code_id, uses, version, use_limit, held_until)
    SELECT * FROM @c(id uuid, uses int, version bigint, use_limit int, held_until timestamptz)
    ON CONFLICT (code_id) DO UPDATE
    SET use_limit = excluded.use_limit, held_until = greatest(n.held_until, excluded.held_until)
), written AS (
    INSERT INTO orders (program_id, order_ref, created_at, touched_at, cancelled_at, cancel_reason, has_refunds,
                        reservation_id, reserved_at, reserved_until, cancel_claimed_at, cancel_clock, cancelled_besides,
                        cancel_releases)
    SELECT u.program_id, u.order_ref, $now, $now, u.cancelled_at, u.cancel_reason, u.has_refunds, u.reservation_id,
           u.reserved_at, u.reserved_until, u.cancel_claimed_at, u.cancel_clock, u.cancelled_besides,
           u.cancel_releases
    FROM @u(program_id uuid, order_ref text, cancelled_at timestamptz, cancel_reason text, has_refunds boolean,
            reservation_id uuid, reserved_at timestamptz, reserved_until timestamptz, cancel_claimed_at timestamptz,
            cancel_clock text, cancelled_besides json, cancel_releases boolean)
    ON CONFLICT (program_id, order_ref) DO UPDATE
    SET cancelled_at = excluded.cancelled_at, cancel_reason = excluded.cancel_reason,
        has_refunds = excluded.has_refunds, reservation_id = excluded.reservation_id,
        reserved_at = excluded.reserved_at, reserved_until = excluded.reserved_until, touched_at = excluded.touched_at,
        cancel_claimed_at = excluded.cancel_claimed_at, cancel_clock = excluded.cancel_clock,
        cancelled_besides = excluded.cancelled_besides, cancel_releases = excluded.cancel_releases
)
INSERT INTO holds (program_id, order_ref, expires_at, canonical, code, code_id, coupon_id, customer_key,
                   discount_minor, currency, lines, mailbox_key)
SELECT * FROM @h(program_id uuid, order_ref text, expires_at timestamptz, canonical text, code text, code_id uuid,
                 coupon_id uuid, customer_key text, discount_minor bigint, currency text, lines json, mailbox_key text)
""")
# Two arrays instead of a join, as for holds.
DELETE_IDLE_ORDERS = """
DELETE FROM orders d USING unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
WHERE d.program_id = ANY ($1::uuid[]) AND d.order_ref = ANY ($2::text[])
  AND d.program_id = o.program_id AND d.order_ref = o.order_ref
"""
# Two arrays instead of a join: they make the planner use the index, however small the table looks.
DELETE_HOLDS = """
DELETE FROM holds h USING unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
WHERE h.program_id = ANY ($1::uuid[]) AND h.order_ref = ANY ($2::text[])
  AND h.program_id = o.program_id AND h.order_ref = o.order_ref
"""
INSERT_REFUNDS = Statement("""
INSERT INTO refunds (id, program_id, order_ref, amount_minor, reason, occurred_at, claimed_at, clock, releases,
                     recorded_at)
SELECT r.*, $recorded_at
FROM @r(id uuid, program_id uuid, order_ref text, amount_minor bigint, reason text, occurred_at timestamptz,
        claimed_at timestamptz, clock text, releases boolean)
""")


@dataclass(slots=True, kw_only=True)
class CodeCountRow:
    """The new state of a code's counter."""

    id: uuid.UUID
    uses: int
    version: int
    use_limit: int | None
    held_until: datetime | None


@dataclass(slots=True, kw_only=True)
class CouponCountRow:
    """The new state of a coupon's counter."""

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


@dataclass(slots=True, kw_only=True)
class RefundRow:
    """A partial refund."""

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
    left_out: Mapping[uuid.UUID, str],
    decided_at: datetime,
) -> None:
    """Write redemptions, the changed counters, which must be locked, and the events of all decisions.

    `attributes` are those of purchases, and `left_out` the names of details that could not be stored, as JSON, by the
    redemption that they are stored with. The events are written here, since nearly every batch redeems something: this
    saves a round trip.
    """
    kept = {
        "attributes": sparse([attributes.get(redemption.id) for redemption in redemptions]),
        "left_out": sparse([left_out.get(redemption.id) for redemption in redemptions]),
    }
    await connection.execute(
        *INSERT_REDEMPTIONS(
            r={**_REDEMPTIONS.columns(redemptions), **kept},
            c=_CODE_COUNTS.columns(codes),
            k=_COUPON_COUNTS.columns(coupons),
            e=_EVENTS.columns(events),
            decided_at=decided_at,
            lease_seconds=LEASE_SECONDS,
        )
    )


async def update_redemptions(connection: Connection, redemptions: Collection[Redemption]) -> None:
    """Write the changes of redemptions; a voided one stays voided and unchanged."""
    await connection.execute(*UPDATE_REDEMPTIONS(u=_CHANGED.columns(redemptions)))


async def write_limits(
    connection: Connection,
    moved_coupons: Sequence[uuid.UUID],
    customers: Iterable[tuple[CustomerKey, Count, int | None]],
    periods: Iterable[tuple[PeriodKey, Count, int | None]],
) -> None:
    """Write counts of customers and periods, each with its limit; remove other periods of `moved_coupons`."""
    if moved_coupons:
        await connection.execute(FORGET_PERIODS, moved_coupons)
    counted, capped = list(customers), list(periods)
    if not counted and not capped:
        return
    await connection.execute(
        *WRITE_LIMITS(
            c={
                "coupon_id": [key[0] for key, _, _ in counted],
                "customer_key": [key[1] for key, _, _ in counted],
                "uses": [count.uses for _, count, _ in counted],
                "use_limit": [limit for _, _, limit in counted],
            },
            p={
                "coupon_id": [key[0] for key, _, _ in capped],
                "period": [key[1] for key, _, _ in capped],
                "starts_at": [key[2] for key, _, _ in capped],
                "uses": [count.uses for _, count, _ in capped],
                "use_limit": [limit for _, _, limit in capped],
            },
        )
    )


async def write_orders(
    connection: Connection,
    orders: Mapping[OrderKey, OrderBook],
    fresh: Collection[OrderKey],
    now: datetime,
    *,
    held_codes: Sequence[CodeCountRow] = (),
) -> None:
    """Write the changes of locked orders: cancellations, refunds and reservations with their holds.

    `fresh` are those without earlier holds. `held_codes` are the counters of codes whose uses have not changed.
    """
    if old := [key for key in orders if key not in fresh]:
        await connection.execute(DELETE_HOLDS, [key[0] for key in old], [key[1] for key in old])
    holds = [(key, book.reserved_until, held) for key, book in orders.items() for held in book.held]
    held = _HOLDS.columns([each for _, _, each in holds])
    held["program_id"], held["order_ref"] = [key[0] for key, _, _ in holds], [key[1] for key, _, _ in holds]
    held["expires_at"] = [until for _, until, _ in holds]
    codes = _CODE_COUNTS.columns(held_codes)
    await connection.execute(*WRITE_ORDERS(u=_order_columns(orders), h=held, c=codes, now=now))


def _order_columns(orders: Mapping[OrderKey, OrderBook]) -> dict[str, list[Any]]:
    books = list(orders.values())
    cancelled = [book.cancelled for book in books]
    others: dict[str, list[Any]] = {
        "has_refunds": [bool(book.refunds) for book in books],
        "cancelled_at": [moment and moment.known_at for moment in cancelled],
        "cancel_claimed_at": [moment and moment.claimed_at for moment in cancelled],
        "cancel_clock": [moment and moment.clock for moment in cancelled],
        "cancelled_besides": [backs_text(book.cancellations[1:]) if book.cancellations[1:] else None for book in books],
        "cancel_releases": [book.cancellations[0].releases if book.cancellations else None for book in books],
    }
    return {
        **_ORDERS.columns(books),
        "program_id": [key[0] for key in orders],
        "order_ref": [key[1] for key in orders],
        **{name: sparse(column) for name, column in others.items()},
    }


async def delete_idle_orders(connection: Connection, orders: Collection[OrderKey]) -> None:
    """Remove order rows that this transaction created without a result: waiting transactions create their own."""
    await connection.execute(DELETE_IDLE_ORDERS, [key[0] for key in orders], [key[1] for key in orders])


async def insert_refunds(connection: Connection, rows: Sequence[RefundRow], recorded_at: datetime) -> None:
    """Write refunds."""
    await connection.execute(*INSERT_REFUNDS(r=_REFUNDS.columns(rows), recorded_at=recorded_at))


_REDEMPTIONS: Final = Values(INSERT_REDEMPTIONS.tables["r"], Redemption, "attributes", "left_out")
_CODE_COUNTS: Final = Values(INSERT_REDEMPTIONS.tables["c"], CodeCountRow)
_COUPON_COUNTS: Final = Values(INSERT_REDEMPTIONS.tables["k"], CouponCountRow)
_EVENTS: Final = Values(INSERT_REDEMPTIONS.tables["e"], OutboxEvent)
_CHANGED: Final = Values(UPDATE_REDEMPTIONS.tables["u"], Redemption)
_ORDERS: Final = Values(("cancel_reason", "reservation_id", "reserved_at", "reserved_until"), OrderBook)
_HOLDS: Final = Values(WRITE_ORDERS.tables["h"], HeldCode, "program_id", "order_ref", "expires_at")
_REFUNDS: Final = Values(INSERT_REFUNDS.tables["r"], RefundRow)
