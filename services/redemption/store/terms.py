"""The terms of codes and their counts, as a decision reads them in a statement that begins after its locks."""

import uuid
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

import orjson

from services.redemption.domain.books import Count
from services.redemption.domain.terms import UNRESTRICTED, CodeTerms, Restrictions
from services.redemption.store.locks import Locked
from shared.database.pool import Connection
from shared.database.rows import Rows
from shared.starting_over import StartOver

IS_DEMO_PROGRAM = "SELECT true FROM codes.demo_program_v1 WHERE program_id = $1"
# A coupon's redemptions are counted only at its first decision under a limit, on top of its uses elsewhere before.
# OFFSET 0 keeps the lookups one by one, whatever the statistics say. Who only looks may come before there are counters.
READ_TERMS = """
WITH first_count AS MATERIALIZED (
    SELECT k.id AS coupon_id,
           (SELECT count(*)::int FROM redemptions r WHERE r.coupon_id = k.id AND r.is_counted) AS uses
    FROM unnest($2::uuid[]) AS k (id)
    WHERE NOT EXISTS (SELECT FROM coupon_counters c WHERE c.coupon_id = k.id AND c.uses IS NOT NULL)
)
SELECT v.code_id, v.program_id, v.partner_id, v.coupon_id, v.code, v.canonical, v.code_is_active, v.code_starts_at,
       v.code_expires_at, v.code_redemption_limit AS code_limit, v.code_created_at, v.code_archived_at,
       v.coupon_uuid_code, v.coupon_name, v.coupon_is_active, v.discount_type, v.percent_hundredths, v.amount_minor,
       v.currency, v.duration_type, v.duration_value, v.coupon_starts_at, v.coupon_expires_at,
       v.coupon_redemption_limit AS coupon_limit, v.coupon_archived_at, v.partner_status, v.quota_remaining,
       v.webhook_attributes AS attribute_names,
       coalesce(v.code_commission_hundredths, v.coupon_commission_hundredths) AS commission_hundredths,
       v.release_policy, v.program_timezone AS timezone, v.combination, v.max_codes_per_order,
       v.commission_cap_hundredths, v.allow_self_referral AS allows_self_referral,
       v.partner_email_canonical AS partner_email, v.code_is_first_order_only, v.coupon_is_first_order_only,
       v.code_minimum_minor, v.code_minimum_currency, v.coupon_minimum_minor, v.coupon_minimum_currency,
       v.is_limited_to_customer, CASE WHEN v.is_limited_to_customer THEN v.customer_id END AS customer_id,
       v.is_limited_to_partner, v.max_discount_minor, v.amounts_by_currency::text AS amounts_by_currency,
       v.customer_redemption_limit AS customer_limit, v.product_ids, v.daily_redemption_limit AS daily_limit,
       v.weekly_redemption_limit AS weekly_limit, v.monthly_redemption_limit AS monthly_limit, v.budget_minor,
       v.budget_currency, v.minimum_applies_to, v.excluded_product_ids,
       coalesce(n.uses, v.code_opening_uses) AS code_uses, coalesce(n.version, 0) AS code_version,
       coalesce(n.held_until > $3, false) AS is_code_held,
       (SELECT true FROM customer_counters u WHERE u.coupon_id = v.coupon_id
        ORDER BY u.customer_key LIMIT 1) AS has_customers,
       m.coupon_id IS NOT NULL AS has_coupon_count,
       coalesce(m.uses, f.uses + v.coupon_opening_uses) AS coupon_uses, coalesce(m.version, 0) AS coupon_version,
       m.uses IS NULL AS is_first_count, coalesce(m.held_until > $3, false) AS is_coupon_held,
       coalesce(m.has_periods, false) AS has_periods, m.period_zone, m.spent_minor,
       m.spent_currency
FROM unnest($1::uuid[]) AS w (id)
CROSS JOIN LATERAL (SELECT * FROM codes.redeemable_v1 v WHERE v.code_id = w.id OFFSET 0) v
LEFT JOIN LATERAL (
    SELECT n.uses, n.version, n.held_until FROM code_counters n WHERE n.code_id = w.id OFFSET 0) n ON true
LEFT JOIN LATERAL (
    SELECT m.coupon_id, m.uses, m.version, m.held_until, m.has_periods, m.period_zone, m.spent_minor,
           m.spent_currency
    FROM coupon_counters m WHERE m.coupon_id = v.coupon_id OFFSET 0) m ON true
LEFT JOIN first_count f ON f.coupon_id = v.coupon_id
"""
_RESTRICTED: Final = [each.name for each in fields(Restrictions)]
# How a row shows what is not restricted, where that is not as the record has it.
_UNSET: Final = {"amounts_by_currency": "{}", "product_ids": [], "excluded_product_ids": []}
_PLAIN: Final = tuple(_UNSET.get(name, getattr(UNRESTRICTED, name)) for name in _RESTRICTED)
_restricted: Final = itemgetter(*_RESTRICTED)
_restrictions: Final = Rows(Restrictions, amounts_by_currency=orjson.loads)
_terms: Final = Rows(CodeTerms, "restrictions")


class TermsChanged(StartOver):
    """A coupon got a limit between locking and reading, so a count is not locked: roll back and start again."""


@dataclass(frozen=True, slots=True)
class CouponState:
    """What else is kept beside a coupon's count; at its first count it is not known what is held."""

    terms: CodeTerms
    is_first_count: bool
    has_periods: bool
    period_zone: str | None
    spent_minor: int | None
    spent_currency: str | None

    @property
    def counts_periods(self) -> bool:
        """Whether its periods are counted from now on."""
        return self.has_periods or bool(self.terms.restrictions.period_limits)

    @property
    def knows_periods(self) -> bool:
        """Whether its counts of periods are those of the program's time zone."""
        return self.period_zone == self.terms.timezone


@dataclass(frozen=True, slots=True)
class CountedTerms:
    """Terms and counts of all locked codes. `code_holds` and `coupon_holds` are those that may be held by orders."""

    terms: list[CodeTerms] = field(default_factory=list)
    code_counts: dict[uuid.UUID, Count] = field(default_factory=dict)
    coupon_counts: dict[uuid.UUID, Count] = field(default_factory=dict)
    coupons: dict[uuid.UUID, CouponState] = field(default_factory=dict)
    code_holds: list[uuid.UUID] = field(default_factory=list)
    coupon_holds: set[uuid.UUID] = field(default_factory=set)


async def read_terms(connection: Connection, locked: Locked, now: datetime) -> CountedTerms:
    """Read terms and counts as they are under the locks; raises TermsChanged if those do not suffice."""
    counted = CountedTerms()
    with_customers = {coupon for coupons in locked.counted_customers.values() for coupon in coupons}
    for row in await connection.fetch(READ_TERMS, locked.code_ids, list(locked.counted_coupons), now):
        # Most codes share what restricts none.
        restrictions = UNRESTRICTED if _restricted(row) == _PLAIN else _restrictions(row)
        terms = _terms(row, restrictions=restrictions)
        counted.terms.append(terms)
        counted.code_counts[terms.code_id] = Count(row["code_uses"], row["code_version"])
        if row["is_code_held"]:
            counted.code_holds.append(terms.code_id)
        if terms.coupon_id in locked.counted_coupons:
            _add_coupon(counted, terms, row)
        elif row["has_coupon_count"] or _is_counted(terms) or terms.coupon_id not in locked.uncounted_coupons:
            raise TermsChanged
        counts_customers = row["has_customers"] or terms.restrictions.customer_limit is not None
        if counts_customers and terms.coupon_id not in with_customers:
            raise TermsChanged
    return counted


def _is_counted(terms: CodeTerms) -> bool:
    rules = terms.restrictions
    return terms.coupon_limit is not None or bool(rules.period_limits) or rules.budget_minor is not None


def _add_coupon(counted: CountedTerms, terms: CodeTerms, row: Any) -> None:
    if terms.coupon_id in counted.coupon_counts:
        return
    state = _coupon_state(row, terms=terms)
    counted.coupon_counts[terms.coupon_id] = Count(row["coupon_uses"], row["coupon_version"])
    counted.coupons[terms.coupon_id] = state
    if row["is_coupon_held"] or state.is_first_count:
        counted.coupon_holds.add(terms.coupon_id)


_coupon_state: Final = Rows(CouponState, "terms")


async def is_demo_program(connection: Connection, program_id: uuid.UUID) -> bool:
    """Return whether made-up history may be written into a program."""
    return bool(await connection.fetchval(IS_DEMO_PROGRAM, program_id))
