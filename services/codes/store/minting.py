"""The grouped mint: one statement decides and writes everything that waits, for any number of keys and partners."""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import asyncpg

from services.codes.domain.minting import MintingTerms
from shared.clock import format_microseconds
from shared.database.outbox import LEASE_SECONDS
from shared.database.pool import Connection
from shared.events.codes import CodesGeneratedV1
from shared.events.envelope import OutboxEvent

FIND_TERMS = """
SELECT p.program_id, p.id AS partner_id, k.id AS coupon_id, p.code_prefix, g.code_alphabet, g.code_length,
       g.code_lifetime_seconds, coalesce(k.code_redemption_limit, 1) AS redemption_limit, g.link_url
FROM partners p JOIN programs g ON g.id = p.program_id
JOIN coupons k ON k.program_id = g.id AND k.is_partner_coupon
WHERE p.id = $1
"""

# Keys are locked before partners and each in the order of its id, so that groups cannot deadlock. What decides (limit,
# window, revocation, status, quota) is read from the locked rows; nothing else is joined to them. Of a key's requests
# the first fit into its window, of a partner's the first into its quota. A request whose code met an existing string
# is not charged: the caller tries it again with another. `quota.low` is said by the mint that crosses the threshold.
MINT_GROUP = """
WITH request AS MATERIALIZED (
    SELECT * FROM unnest($1::int[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[])
        AS r (nth, key_id, partner_id, code_id, code, canonical)
), terms AS MATERIALIZED (
    SELECT * FROM unnest($7::uuid[], $8::uuid[], $9::uuid[], $10::timestamptz[], $11::int[], $12::uuid[], $13::uuid[],
                         $18::uuid[], $19::uuid[])
        AS t (partner_id, program_id, coupon_id, expires_at, redemption_limit, ledger_id, event_id, low_id,
              exhausted_id)
), locked_key AS MATERIALIZED (
    SELECT id, rate_limit_per_minute, revoked_at, window_started_at, window_used
    FROM api_keys WHERE id = ANY ($14::uuid[]) ORDER BY id FOR NO KEY UPDATE
), key AS MATERIALIZED (
    SELECT id, rate_limit_per_minute AS limited_to, revoked_at,
           CASE WHEN running THEN window_started_at ELSE now_ END AS started_at,
           CASE WHEN running THEN window_used ELSE 0 END AS used
    FROM (SELECT k.*, t.now_,
                 k.window_started_at > t.now_ - interval '60 s' AND k.window_started_at <= t.now_ AS running
          FROM locked_key k, (SELECT clock_timestamp() AS now_ WHERE (SELECT count(*) FROM locked_key) >= 0) t) w
), partner AS MATERIALIZED (
    SELECT id, status, quota_granted + quota_adjusted - quota_minted + quota_refunded AS remaining,
           quota_low_threshold AS threshold
    FROM partners WHERE id = ANY ($7::uuid[]) AND (SELECT count(*) FROM locked_key) >= 0
    ORDER BY id FOR NO KEY UPDATE
), ranked AS (
    SELECT r.*, k.limited_to, k.started_at, k.used, k.id IS NOT NULL AND k.revoked_at IS NULL AS key_is_live,
           row_number() OVER (PARTITION BY r.key_id ORDER BY r.nth) AS nth_of_key
    FROM request r LEFT JOIN key k ON k.id = r.key_id
), admitted AS (
    SELECT *, key_is_live AND (limited_to IS NULL OR used + nth_of_key <= limited_to) AS is_admitted FROM ranked
), decided AS MATERIALIZED (
    SELECT a.*, p.status, p.remaining, p.threshold,
           row_number() OVER (PARTITION BY a.partner_id, a.is_admitted ORDER BY a.nth) <= p.remaining AS fits
    FROM admitted a LEFT JOIN partner p ON p.id = a.partner_id
), inserted AS (
    INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_auto_generated, expires_at,
                                 redemption_limit, created_by_key_id, created_at, updated_at)
    SELECT code_id, program_id, coupon_id, partner_id, code, canonical, true, expires_at,
           redemption_limit, key_id, $15, $15
    FROM decided JOIN terms USING (partner_id) WHERE is_admitted AND status = 'active' AND fits
    ON CONFLICT (program_id, canonical) WHERE archived_at IS NULL DO NOTHING
    RETURNING id
), outcome AS MATERIALIZED (
    SELECT d.*, CASE WHEN NOT key_is_live THEN 'invalid_key' WHEN NOT is_admitted THEN 'rate_limited'
                     WHEN status IS DISTINCT FROM 'active' THEN 'partner_not_active'
                     WHEN NOT fits THEN 'no_codes_remaining' WHEN i.id IS NULL THEN 'collided'
                     ELSE 'minted' END AS result
    FROM decided d LEFT JOIN inserted i ON i.id = d.code_id
), charged_key AS (
    UPDATE api_keys a SET window_started_at = c.started_at, window_used = c.used + c.charged
    FROM (SELECT key_id, min(started_at) AS started_at, min(used) AS used, count(*) AS charged FROM outcome
          WHERE is_admitted AND limited_to IS NOT NULL AND result <> 'collided' GROUP BY key_id) c
    WHERE a.id = c.key_id
), minted AS MATERIALIZED (
    SELECT * FROM (
        SELECT partner_id, min(remaining) AS remaining, min(threshold) AS threshold, count(*) AS amount,
               array_agg(code_id) AS code_ids,
               array_agg(code) AS codes, string_agg(DISTINCT key_id::text, ' ') AS key_ids
        FROM (SELECT * FROM outcome WHERE result = 'minted' ORDER BY partner_id, nth) o GROUP BY partner_id) m
    JOIN terms USING (partner_id)
), charged_partner AS (
    UPDATE partners p SET quota_minted = p.quota_minted + m.amount FROM minted m WHERE p.id = m.partner_id
), written_ledger AS (
    INSERT INTO quota_ledger (id, partner_id, kind, amount, code_ids, actor, created_at)
    SELECT ledger_id, partner_id, 'mint', amount, code_ids, 'key ' || key_ids, $15 FROM minted
), event AS MATERIALIZED (
    SELECT id, type, convert_to(json_build_object(
        'specversion', '1.0', 'id', id, 'source', '/mintwire/codes', 'type', type, 'time', $16::text,
        'datacontenttype', 'application/json', 'dataschema', 'urn:mintwire:event:' || type || ':1', 'data', data
        )::text, 'UTF8') AS body
    FROM (
        SELECT event_id AS id, 'codes.generated' AS type, json_build_object(
            'program_id', program_id, 'partner_id', partner_id, 'coupon_id', coupon_id, 'codes', codes,
            'code_ids', code_ids, 'expires_at', expires_at, 'codes_remaining', remaining - amount) AS data
        FROM minted
        UNION ALL
        SELECT low_id, 'quota.low', json_build_object('program_id', program_id, 'partner_id', partner_id,
            'codes_remaining', remaining - amount, 'threshold', threshold)
        FROM minted WHERE remaining > threshold AND remaining - amount <= threshold
        UNION ALL
        SELECT exhausted_id, 'quota.exhausted', json_build_object('program_id', program_id, 'partner_id', partner_id)
        FROM minted WHERE remaining = amount
    ) told
), written_event AS (
    INSERT INTO events (id, type, body) SELECT id, type, body FROM event
), pending AS (
    INSERT INTO outbox (event_id, leased_until)
    SELECT id, clock_timestamp() + make_interval(secs => $17) FROM event
)
SELECT nth, result, limited_to,
       used + least(nth_of_key, limited_to - used) AS used,
       extract(epoch FROM started_at - clock_timestamp())::float8 + 60 AS resets_in, NULL::uuid AS event_id,
       NULL::bytea AS body
FROM outcome
UNION ALL
SELECT NULL, type, NULL, NULL, NULL, id, body FROM event
"""

# The same decision for one request, several times cheaper than a group of one. The guarded updates are the locks: key
# before partner, as in a group. A string that exists already raises; the caller then takes the group's way. Where an
# update found no row, the reason is read beside it and may be a moment old, the refusal itself is not.
MINT_ONE = """
WITH key AS (
    UPDATE api_keys SET
        window_started_at = CASE WHEN rate_limit_per_minute IS NULL
            OR (window_started_at > clock_timestamp() - interval '60 s' AND window_started_at <= clock_timestamp())
            THEN window_started_at ELSE clock_timestamp() END,
        window_used = CASE WHEN rate_limit_per_minute IS NULL THEN window_used
            WHEN window_started_at > clock_timestamp() - interval '60 s' AND window_started_at <= clock_timestamp()
            THEN window_used + 1 ELSE 1 END
    WHERE id = $1 AND revoked_at IS NULL AND (
        rate_limit_per_minute IS NULL OR window_used < rate_limit_per_minute
        OR window_started_at <= clock_timestamp() - interval '60 s' OR window_started_at > clock_timestamp())
    RETURNING rate_limit_per_minute, window_used, window_started_at
), partner AS (
    UPDATE partners SET quota_minted = quota_minted + 1
    WHERE id = $2 AND EXISTS (SELECT FROM key) AND status = 'active'
        AND quota_granted + quota_adjusted - quota_minted + quota_refunded > 0
    RETURNING quota_granted + quota_adjusted - quota_minted + quota_refunded AS remaining,
              quota_low_threshold AS threshold
), code AS (
    INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_auto_generated, expires_at,
                                 redemption_limit, created_by_key_id, created_at, updated_at)
    SELECT $3, $4, $5, $2, $6, $7, true, $8, $9, $1, $10, $10 FROM partner
), ledger AS (
    INSERT INTO quota_ledger (id, partner_id, kind, amount, code_ids, actor, created_at)
    SELECT $11, $2, 'mint', 1, ARRAY[$3::uuid], $12, $10 FROM partner
), event AS (
    INSERT INTO events (id, type, body)
    SELECT $13, 'codes.generated', $14::bytea || convert_to(remaining::text, 'UTF8') || '}}'::bytea FROM partner
    UNION ALL
    SELECT id, type, convert_to(json_build_object(
        'specversion', '1.0', 'id', id, 'source', '/mintwire/codes', 'type', type, 'time', $18::text,
        'datacontenttype', 'application/json', 'dataschema', 'urn:mintwire:event:' || type || ':1', 'data', data
        )::text, 'UTF8')
    FROM (
        SELECT $16::uuid AS id, 'quota.low' AS type, json_build_object('program_id', $4::uuid, 'partner_id', $2::uuid,
            'codes_remaining', remaining, 'threshold', threshold) AS data
        FROM partner WHERE remaining = threshold
        UNION ALL
        SELECT $17::uuid, 'quota.exhausted', json_build_object('program_id', $4::uuid, 'partner_id', $2::uuid)
        FROM partner WHERE remaining = 0
    ) told
    RETURNING id, type, body
), pending AS (
    INSERT INTO outbox (event_id, leased_until)
    SELECT id, clock_timestamp() + make_interval(secs => $15) FROM event
)
SELECT CASE WHEN e.body IS NOT NULL THEN 'minted'
            WHEN k.window_used IS NOT NULL AND p.status = 'active' THEN 'no_codes_remaining'
            WHEN k.window_used IS NOT NULL THEN 'partner_not_active'
            WHEN a.revoked_at IS NULL THEN 'rate_limited' ELSE 'invalid_key' END AS result,
       a.rate_limit_per_minute AS limited_to,
       coalesce(k.window_used, a.rate_limit_per_minute) AS used,
       extract(epoch FROM coalesce(k.window_started_at, a.window_started_at) - clock_timestamp())::float8 + 60,
       e.id, e.type, e.body
FROM api_keys a JOIN partners p ON p.id = $2 LEFT JOIN key k ON true LEFT JOIN event e ON true
WHERE a.id = $1
"""

MintResult = Literal["minted", "collided", "invalid_key", "rate_limited", "partner_not_active", "no_codes_remaining"]


class MintRequest(NamedTuple):
    """One request of a group, with the code that it gets if all is well."""

    key_id: uuid.UUID
    terms: MintingTerms
    code_id: uuid.UUID
    code: str
    canonical: str
    expires_at: datetime


class MintRow(NamedTuple):
    """What came of one request; the rate members are None for a key without a limit."""

    result: MintResult
    limit: int | None
    used: int | None
    resets_in_seconds: float | None


async def find_terms(connection: Connection, partner_id: uuid.UUID) -> MintingTerms | None:
    """Read how a partner's codes look."""
    row = await connection.fetchrow(FIND_TERMS, partner_id)
    return MintingTerms(**row) if row is not None else None


async def mint_one(
    connection: Connection, request: MintRequest, new_id: Callable[[], uuid.UUID], now: datetime
) -> tuple[MintRow, list[OutboxEvent]]:
    """Decide and write one request; a taken string comes back as `collided`, with nothing written or charged.

    Inside a transaction of the caller's use `mint_group` instead, which survives a taken string.
    """
    terms = request.terms
    event_id = new_id()
    try:
        rows = await connection.fetch(
            MINT_ONE,
            request.key_id,
            terms.partner_id,
            request.code_id,
            terms.program_id,
            terms.coupon_id,
            request.code,
            request.canonical,
            request.expires_at,
            terms.redemption_limit,
            now,
            new_id(),
            f"key {request.key_id}",
            event_id,
            _event_until_remaining(request, event_id, now),
            LEASE_SECONDS,
            new_id(),
            new_id(),
            format_microseconds(now),
        )
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "promotion_codes_live":
            raise
        return MintRow("collided", None, None, None), []
    if not rows:
        return MintRow("invalid_key", None, None, None), []
    # One row for each event; without an event one for the refusal.
    result, limit, used, resets_in = rows[0][:4]
    events = [OutboxEvent(row[4], row[5], row[6]) for row in rows if row[6] is not None]
    return MintRow(result, limit, used if limit is not None else None, resets_in), events


def _event_until_remaining(request: MintRequest, event_id: uuid.UUID, now: datetime) -> bytes:
    """Freeze the event up to its last member, which only the statement knows: what remains of the quota."""
    data = CodesGeneratedV1.model_construct(
        program_id=request.terms.program_id,
        partner_id=request.terms.partner_id,
        coupon_id=request.terms.coupon_id,
        codes=[request.code],
        code_ids=[request.code_id],
        expires_at=request.expires_at,
        codes_remaining=0,
    )
    return data.to_event(event_id, now).body.removesuffix(b"0}}")


async def mint_group(
    connection: Connection,
    requests: Sequence[MintRequest],
    new_id: Callable[[], uuid.UUID],
    now: datetime,
) -> tuple[list[MintRow], list[OutboxEvent]]:
    """Decide and write a group in one statement; rows come back in the order of the requests.

    All requests of a group were made at `now`, so those of one partner share their terms and their expiry.
    """
    by_partner = {request.terms.partner_id: request for request in requests}
    rows = await connection.fetch(
        MINT_GROUP,
        list(range(len(requests))),
        [r.key_id for r in requests],
        [r.terms.partner_id for r in requests],
        [r.code_id for r in requests],
        [r.code for r in requests],
        [r.canonical for r in requests],
        list(by_partner),
        [r.terms.program_id for r in by_partner.values()],
        [r.terms.coupon_id for r in by_partner.values()],
        [r.expires_at for r in by_partner.values()],
        [r.terms.redemption_limit for r in by_partner.values()],
        [new_id() for _ in by_partner],
        [new_id() for _ in by_partner],
        list({r.key_id for r in requests}),
        now,
        format_microseconds(now),
        LEASE_SECONDS,
        [new_id() for _ in by_partner],
        [new_id() for _ in by_partner],
    )
    results: dict[int, MintRow] = {}
    events = []
    for nth, result, limit, used, resets_in, event_id, body in rows:
        if event_id is None:
            results[nth] = MintRow(result, limit, used, resets_in)
        else:
            events.append(OutboxEvent(event_id, result, body))
    return [results[nth] for nth in range(len(requests))], events
