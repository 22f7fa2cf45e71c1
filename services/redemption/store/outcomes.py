"""The writes of redemptions and counters, in the transaction that holds the locks; for orders see `store.orders`."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.redemption.domain.books import Count, PeriodKey, Redemption
from services.redemption.domain.customers import CustomerKey
from shared.database.outbox import LEASE_SECONDS
from shared.database.pool import Connection
from shared.database.rows import Statement, Values, sparse
from shared.events.envelope import OutboxEvent

# The rows exist and are locked; an upsert finds each by its key, whatever the planner assumes about the tables.
# For the lines of partners' commissions see `store.commission_ledger`.
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
), written AS (
    INSERT INTO redemptions (id, program_id, order_ref, canonical, code, code_id, coupon_id, partner_id, customer_id,
                             customer_key, discount_type, percent_hundredths, amount_minor, discount_minor, currency,
                             subtotal_minor, commission_hundredths, commission_minor, discount_ends_at, release_policy,
                             release_until, occurred_at, confirmed_at, is_counted, voided_at, void_reason, terms,
                             claimed_at, clock, lines, combination, commission_cap_hundredths, commission_version,
                             is_self_referral, mailbox_key, purchases, is_voided_alone, prices, attributes,
                             left_out, decided_at, is_mailbox_kept, accounted_minor)
    SELECT r.*, $decided_at, true, CASE WHEN r.voided_at IS NULL THEN r.commission_minor ELSE 0 END
    FROM @r(id uuid, program_id uuid, order_ref text, canonical text, code text, code_id uuid, coupon_id uuid,
            partner_id uuid, customer_id text, customer_key text, discount_type text, percent_hundredths int,
            amount_minor bigint, discount_minor bigint, currency text, subtotal_minor bigint, commission_hundredths int,
            commission_minor bigint, discount_ends_at timestamptz, release_policy text, release_until timestamptz,
            occurred_at timestamptz, confirmed_at timestamptz, is_counted boolean, voided_at timestamptz,
            void_reason text, terms json, claimed_at timestamptz, clock text, lines json, combination text,
            commission_cap_hundredths int, commission_version int, is_self_referral boolean, mailbox_key text,
            purchases json, is_voided_alone boolean, prices json, attributes json, left_out json)
    RETURNING id, program_id, partner_id, occurred_at, voided_at, commission_minor, currency
)
INSERT INTO commission_lines (program_id, partner_id, redemption_id, kind, amount_minor, currency, at)
SELECT program_id, partner_id, id, 'redemption', commission_minor, coalesce(currency, ''), occurred_at
FROM written WHERE partner_id IS NOT NULL AND commission_minor <> 0
UNION ALL
SELECT program_id, partner_id, id, 'reversal', -commission_minor, coalesce(currency, ''), voided_at
FROM written WHERE voided_at IS NOT NULL AND partner_id IS NOT NULL AND commission_minor <> 0
""")
# The rows are those of locked orders, so nobody else changes them: what was accounted before is read as it is.
UPDATE_REDEMPTIONS = Statement("""
WITH before AS MATERIALIZED (
    SELECT id, accounted_minor FROM redemptions WHERE id = ANY ($u.id::uuid[])
), written AS (
    UPDATE redemptions r
    SET confirmed_at = u.confirmed_at, is_counted = u.is_counted, voided_at = u.voided_at, void_reason = u.void_reason,
        claimed_at = u.claimed_at, clock = u.clock, commission_minor = u.commission_minor,
        commission_version = u.commission_version, purchases = u.purchases, is_voided_alone = u.is_voided_alone,
        accounted_minor = CASE WHEN u.voided_at IS NULL THEN u.commission_minor ELSE 0 END
    FROM @u(id uuid, confirmed_at timestamptz, is_counted boolean, voided_at timestamptz, void_reason text,
            claimed_at timestamptz, clock text, commission_minor bigint, commission_version int, purchases json,
            is_voided_alone boolean)
    WHERE r.id = ANY ($u.id::uuid[]) AND r.id = u.id AND (r.voided_at IS NULL OR r.voided_at = u.voided_at)
    RETURNING r.id, r.program_id, r.partner_id, r.occurred_at, r.voided_at, r.commission_minor, r.currency,
              r.accounted_minor
)
INSERT INTO commission_lines (program_id, partner_id, redemption_id, kind, amount_minor, currency, at)
SELECT w.program_id, w.partner_id, w.id, l.kind, l.amount_minor, coalesce(w.currency, ''), l.at
FROM written w JOIN before b ON b.id = w.id CROSS JOIN LATERAL (VALUES
    ('redemption', CASE WHEN b.accounted_minor IS NULL THEN w.commission_minor END, w.occurred_at),
    (CASE WHEN w.voided_at IS NULL THEN 'adjustment' ELSE 'reversal' END,
     w.accounted_minor - coalesce(b.accounted_minor, w.commission_minor),
     coalesce(w.voided_at, $decided_at))) AS l (kind, amount_minor, at)
WHERE w.partner_id IS NOT NULL AND l.amount_minor <> 0
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


async def update_redemptions(connection: Connection, redemptions: Collection[Redemption], decided_at: datetime) -> None:
    """Write the changes of redemptions; a voided one stays voided and unchanged."""
    await connection.execute(*UPDATE_REDEMPTIONS(u=_CHANGED.columns(redemptions), decided_at=decided_at))


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


_REDEMPTIONS: Final = Values(INSERT_REDEMPTIONS.tables["r"], Redemption, "attributes", "left_out")
_CODE_COUNTS: Final = Values(INSERT_REDEMPTIONS.tables["c"], CodeCountRow)
_COUPON_COUNTS: Final = Values(INSERT_REDEMPTIONS.tables["k"], CouponCountRow)
_EVENTS: Final = Values(INSERT_REDEMPTIONS.tables["e"], OutboxEvent)
_CHANGED: Final = Values(UPDATE_REDEMPTIONS.tables["u"], Redemption)
