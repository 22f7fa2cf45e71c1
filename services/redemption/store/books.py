"""What a decision reads once it holds its locks, in statements that begin after them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.redemption.domain.decision import Count, OrderCode
from services.redemption.domain.terms import CodeTerms
from services.redemption.store.locks import Locked
from shared.database.pool import Connection

# The first columns are the members of CodeTerms, in their order. A coupon's redemptions are counted only at its first
# decision under a limit. OFFSET 0 keeps the lookups one by one, whatever the statistics say.
READ_TERMS = """
WITH first_count AS MATERIALIZED (
    SELECT coupon_id, (SELECT count(*)::int FROM redemptions r WHERE r.coupon_id = c.coupon_id) AS uses
    FROM coupon_counters c WHERE c.coupon_id = ANY ($2::uuid[]) AND c.uses IS NULL
)
SELECT v.code_id, v.program_id, v.partner_id, v.coupon_id, v.code, v.canonical, v.code_is_active, v.code_starts_at,
       v.code_expires_at, v.code_redemption_limit, v.code_created_at, v.code_archived_at, v.coupon_uuid_code,
       v.coupon_name, v.coupon_is_active, v.discount_type, v.percent_hundredths, v.amount_minor, v.currency,
       v.duration_type, v.duration_value, v.coupon_starts_at, v.coupon_expires_at, v.coupon_redemption_limit,
       v.coupon_archived_at, v.partner_status, v.quota_remaining, v.webhook_attributes,
       n.uses AS code_uses, n.version AS code_version, m.coupon_id IS NOT NULL AS has_coupon_count,
       coalesce(m.uses, f.uses) AS coupon_uses, m.version AS coupon_version
FROM unnest($1::uuid[]) AS w (id)
CROSS JOIN LATERAL (SELECT * FROM codes.redeemable_v1 v WHERE v.code_id = w.id OFFSET 0) v
CROSS JOIN LATERAL (SELECT n.uses, n.version FROM code_counters n WHERE n.code_id = w.id OFFSET 0) n
LEFT JOIN LATERAL (
    SELECT m.coupon_id, m.uses, m.version FROM coupon_counters m WHERE m.coupon_id = v.coupon_id OFFSET 0) m ON true
LEFT JOIN first_count f ON f.coupon_id = v.coupon_id
"""
FIND_REDEEMED = """
SELECT d.program_id, d.order_ref, d.canonical
FROM unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
CROSS JOIN LATERAL (
    SELECT r.program_id, r.order_ref, r.canonical FROM redemptions r
    WHERE r.program_id = o.program_id AND r.order_ref = o.order_ref OFFSET 0) d
"""
# ORDER BY makes the index the way to the first code: a scan would not end early for a program that has none.
FIND_PROGRAMS = """
SELECT p.id FROM unnest($1::uuid[]) AS p (id)
WHERE (SELECT true FROM codes.credential_v1 k WHERE k.program_id = p.id LIMIT 1)
   OR (SELECT true FROM codes.redeemable_v1 c WHERE c.program_id = p.id AND c.code_archived_at IS NULL
       ORDER BY c.canonical LIMIT 1)
   OR (SELECT true FROM codes.redeemable_v1 c WHERE c.program_id = p.id AND c.code_archived_at IS NOT NULL
       ORDER BY c.canonical LIMIT 1)
"""
_TERMS_COLUMNS = len(CodeTerms.__dataclass_fields__)


class TermsChanged(Exception):
    """A coupon got a limit between locking and reading, so its count is not locked: roll back and start again."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Terms and counts of all locked codes."""

    terms: list[CodeTerms]
    code_counts: dict[uuid.UUID, Count]
    coupon_counts: dict[uuid.UUID, Count]


async def read_terms(connection: Connection, locked: Locked) -> Shelf:
    """Read terms and counts as they are under the locks; raises TermsChanged if those do not suffice."""
    shelf = Shelf([], {}, {})
    for row in await connection.fetch(READ_TERMS, locked.code_ids, list(locked.counted_coupons)):
        values = tuple(row)
        terms = CodeTerms(*values[:_TERMS_COLUMNS])
        code_uses, code_version, has_coupon_count, coupon_uses, coupon_version = values[_TERMS_COLUMNS:]
        shelf.terms.append(terms)
        shelf.code_counts[terms.code_id] = Count(code_uses, code_version)
        if terms.coupon_id in locked.counted_coupons:
            shelf.coupon_counts.setdefault(terms.coupon_id, Count(coupon_uses, coupon_version))
        elif has_coupon_count or terms.coupon_limit is not None or terms.coupon_id not in locked.uncounted_coupons:
            raise TermsChanged
    return shelf


async def find_redeemed(connection: Connection, orders: Sequence[tuple[uuid.UUID, str]]) -> set[OrderCode]:
    """Return what locked orders have redeemed already: (program, order_ref, canonical form)."""
    rows = await connection.fetch(FIND_REDEEMED, [order[0] for order in orders], [order[1] for order in orders])
    return {(row["program_id"], row["order_ref"], row["canonical"]) for row in rows}


async def find_programs(connection: Connection, program_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of the programs exist, as far as they have a key or a code."""
    return {row["id"] for row in await connection.fetch(FIND_PROGRAMS, program_ids)}
