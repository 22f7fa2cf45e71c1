"""The grouped mint, judged request by request: one statement decides and writes what `minting_at_once` cannot."""

import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from services.codes.domain.minting import MintingTerms, MintRefusal
from shared.database.pool import Connection
from shared.database.rows import Statement

FIND_TERMS = """
SELECT p.program_id, p.id AS partner_id, k.id AS coupon_id, p.code_prefix, g.code_alphabet, g.code_length,
       g.code_lifetime_seconds, coalesce(k.code_redemption_limit, 1) AS redemption_limit, g.link_url,
       p.status = 'active' AS is_partner_active
FROM partners p JOIN programs g ON g.id = p.program_id
JOIN coupons k ON k.program_id = g.id AND k.is_partner_coupon
WHERE p.id = $1
"""

# A coupon is read by the snapshot of the statement, as it is shown: `Coupon.is_valid` in SQL.
#
# Keys are locked before partners and each in the order of its id, so that groups cannot deadlock. What decides (limit,
# window, revocation, status, quota) is read from the locked rows; nothing else is joined to them. A key's first
# requests fill its window, a partner's first ones its quota. A request whose code met an existing string,
# or whose reference has a code, is not charged: the caller tries it again.
MINT_GROUP = Statement("""
WITH request AS MATERIALIZED (
    SELECT * FROM @r(nth int, key_id uuid, partner_id uuid, code_id uuid, code text, canonical text, reference text)
), terms AS MATERIALIZED (
    SELECT * FROM @t(partner_id uuid, program_id uuid, coupon_id uuid, expires_at timestamptz, redemption_limit int,
                     ledger_id uuid)
), issuing AS MATERIALIZED (
    SELECT id FROM coupons
    WHERE id = ANY ($t.coupon_id::uuid[]) AND is_active AND archived_at IS NULL
        AND (starts_at IS NULL OR starts_at <= $now) AND (expires_at IS NULL OR $now < expires_at)
        AND (redemption_limit IS NULL OR times_redeemed < redemption_limit)
), locked_key AS MATERIALIZED (
    SELECT id, kind = 'account' AS is_account, rate_limit_per_minute, revoked_at, window_started_at, window_used
    FROM api_keys WHERE id = ANY ($key_ids::uuid[]) ORDER BY id FOR NO KEY UPDATE
), key AS MATERIALIZED (
    SELECT id, is_account, rate_limit_per_minute AS limited_to, revoked_at,
           CASE WHEN running THEN window_started_at ELSE now_ END AS started_at,
           CASE WHEN running THEN window_used ELSE 0 END AS used
    FROM (SELECT k.*, t.now_,
                 k.window_started_at > t.now_ - interval '60 s' AND k.window_started_at <= t.now_ AS running
          FROM locked_key k, (SELECT clock_timestamp() AS now_ WHERE (SELECT count(*) FROM locked_key) >= 0) t) w
), partner AS MATERIALIZED (
    SELECT id, status, quota_granted + quota_adjusted - quota_minted + quota_refunded AS remaining,
           quota_low_threshold AS threshold
    FROM partners WHERE id = ANY ($t.partner_id::uuid[]) AND (SELECT count(*) FROM locked_key) >= 0
    ORDER BY id FOR NO KEY UPDATE
), ranked AS (
    SELECT r.*, k.is_account, k.limited_to, k.started_at, k.used,
           k.id IS NOT NULL AND k.revoked_at IS NULL AS key_is_live,
           row_number() OVER (PARTITION BY r.key_id ORDER BY r.nth) AS nth_of_key
    FROM request r LEFT JOIN key k ON k.id = r.key_id
), admitted AS (
    SELECT *, key_is_live AND (limited_to IS NULL OR used + nth_of_key <= limited_to) AS is_admitted FROM ranked
), decided AS MATERIALIZED (
    SELECT a.*, p.status, p.remaining, p.threshold, t.coupon_id IN (SELECT id FROM issuing) AS is_issuing,
           row_number() OVER (PARTITION BY a.partner_id, a.is_admitted ORDER BY a.nth) <= p.remaining AS fits
    FROM admitted a JOIN terms t USING (partner_id) LEFT JOIN partner p ON p.id = a.partner_id
), inserted AS (
    INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_auto_generated, expires_at,
                                 redemption_limit, created_by_key_id, reference, created_at, updated_at)
    SELECT code_id, program_id, coupon_id, partner_id, code, canonical, true, expires_at,
           redemption_limit, key_id, reference, $now, $now
    FROM decided JOIN terms USING (partner_id) WHERE is_admitted AND status = 'active' AND is_issuing AND fits
    ON CONFLICT DO NOTHING
    RETURNING id
), outcome AS MATERIALIZED (
    SELECT d.*, CASE WHEN NOT key_is_live THEN 'invalid_key' WHEN NOT is_admitted THEN 'rate_limited'
                     WHEN status IS DISTINCT FROM 'active' THEN 'partner_not_active'
                     WHEN NOT is_issuing THEN 'coupon_inactive'
                     WHEN NOT fits THEN 'no_codes_remaining' WHEN i.id IS NULL THEN 'collided'
                     ELSE 'minted' END AS result
    FROM decided d LEFT JOIN inserted i ON i.id = d.code_id
), charged_key AS (
    UPDATE api_keys a SET window_started_at = c.started_at, window_used = c.used + c.charged
    FROM (SELECT key_id, min(started_at) AS started_at, min(used) AS used, count(*) AS charged FROM outcome
          WHERE is_admitted AND limited_to IS NOT NULL AND result <> 'collided' GROUP BY key_id) c
    WHERE a.id = c.key_id
), minted AS MATERIALIZED (
    SELECT o.partner_id, t.ledger_id, count(*) AS amount, array_agg(o.code_id ORDER BY o.nth) AS code_ids,
           concat_ws(' ', 'key ' || string_agg(DISTINCT o.key_id::text, ' ') FILTER (WHERE NOT o.is_account),
                     'account ' || string_agg(DISTINCT o.key_id::text, ' ') FILTER (WHERE o.is_account)) AS actor
    FROM outcome o JOIN terms t USING (partner_id) WHERE o.result = 'minted' GROUP BY o.partner_id, t.ledger_id
), charged_partner AS (
    UPDATE partners p SET quota_minted = p.quota_minted + m.amount FROM minted m WHERE p.id = m.partner_id
), written_ledger AS (
    INSERT INTO quota_ledger (id, partner_id, kind, amount, code_ids, actor, created_at)
    SELECT ledger_id, partner_id, 'mint', amount, code_ids, actor, $now FROM minted
)
SELECT nth, result, limited_to AS limit, used + least(nth_of_key, limited_to - used) AS used,
       extract(epoch FROM started_at - clock_timestamp())::float8 + 60 AS resets_in_seconds,
       remaining - count(*) FILTER (WHERE result = 'minted') OVER (PARTITION BY partner_id ORDER BY nth) AS remaining,
       threshold
FROM outcome ORDER BY nth
""")

MintResult = Literal["minted", "collided"] | MintRefusal


class MintRequest(NamedTuple):
    """One request of a group, with the code that it gets if it succeeds."""

    key_id: uuid.UUID
    terms: MintingTerms
    code_id: uuid.UUID
    code: str
    canonical: str
    expires_at: datetime
    reference: str | None = None


class MintRow(NamedTuple):
    """The outcome of one request; the rate members are None for a key without a limit.

    If requests are judged one by one, `remaining` is the partner's quota after it and `threshold` the mark for low.
    """

    result: MintResult
    limit: int | None
    used: int | None
    resets_in_seconds: float | None
    remaining: int | None = None
    threshold: int | None = None


async def find_terms(connection: Connection, partner_id: uuid.UUID) -> MintingTerms | None:
    """Read the form of a partner's codes."""
    row = await connection.fetchrow(FIND_TERMS, partner_id)
    return MintingTerms(**row) if row is not None else None


async def mint_group(
    connection: Connection,
    requests: Sequence[MintRequest],
    key_ids: Collection[uuid.UUID],
    new_id: Callable[[], uuid.UUID],
    now: datetime,
) -> list[MintRow]:
    """Decide and write a group in one statement; rows come back in the order of the requests.

    The events about it are left to the caller.

    All requests of a group were made at `now`, so those of one partner share their terms and their expiry. `key_ids`
    are locked: those of the requests, and those that the same transaction may need later, since keys are locked before
    partners.
    """
    by_partner = {request.terms.partner_id: request for request in requests}
    rows = await connection.fetch(
        *MINT_GROUP(
            r={
                "nth": list(range(len(requests))),
                "key_id": [r.key_id for r in requests],
                "partner_id": [r.terms.partner_id for r in requests],
                "code_id": [r.code_id for r in requests],
                "code": [r.code for r in requests],
                "canonical": [r.canonical for r in requests],
                "reference": [r.reference for r in requests],
            },
            t=_columns_of_terms(list(by_partner.values()), new_id),
            key_ids=list(key_ids),
            now=now,
        )
    )
    return [_mint_row(row) for row in rows]


def _columns_of_terms(one_of_each: Sequence[MintRequest], new_id: Callable[[], uuid.UUID]) -> dict[str, list[Any]]:
    terms = [request.terms for request in one_of_each]
    return {
        "partner_id": [each.partner_id for each in terms],
        "program_id": [each.program_id for each in terms],
        "coupon_id": [each.coupon_id for each in terms],
        "expires_at": [request.expires_at for request in one_of_each],
        "redemption_limit": [each.redemption_limit for each in terms],
        "ledger_id": [new_id() for _ in terms],
    }


def _mint_row(row: Any) -> MintRow:
    return MintRow(**{name: row[name] for name in MintRow._fields})
