"""The grouped mint: one statement decides and writes everything that waits, for any number of keys and partners."""

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import asyncpg
import orjson

from services.codes.domain.minting import MintingTerms, MintRefusal
from shared.clock import format_microseconds
from shared.database.idempotency import KeptAnswer, answer_columns
from shared.database.outbox import LEASE_SECONDS
from shared.database.pool import Connection
from shared.events.codes import CodesGeneratedV1
from shared.events.envelope import OutboxEvent, envelope_head
from shared.grouping import StartOver
from shared.modes import in_mode, is_test, shown_id

FIND_TERMS = """
SELECT p.program_id, p.id AS partner_id, k.id AS coupon_id, p.code_prefix, g.code_alphabet, g.code_length,
       g.code_lifetime_seconds, coalesce(k.code_redemption_limit, 1) AS redemption_limit, g.link_url,
       p.status = 'active' AS is_partner_active
FROM partners p JOIN programs g ON g.id = p.program_id
JOIN coupons k ON k.program_id = g.id AND k.is_partner_coupon
WHERE p.id = $1
"""

# A coupon is read as it is shown, by the snapshot of the statement: `Coupon.is_valid` in SQL.
#
# Keys are locked before partners and each in the order of its id, so that groups cannot deadlock. What decides (limit,
# window, revocation, status, quota) is read from the locked rows; nothing else is joined to them. Of a key's requests
# the first fit into its window, of a partner's the first into its quota. A request whose code met an existing string,
# or whose reference has a code, is not charged: the caller tries it again. `quota.low` is said by the mint that crosses
# the threshold.
MINT_GROUP = """
WITH request AS MATERIALIZED (
    SELECT * FROM unnest($1::int[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $20::text[])
        AS r (nth, key_id, partner_id, code_id, code, canonical, reference)
), terms AS MATERIALIZED (
    SELECT * FROM unnest($7::uuid[], $8::uuid[], $9::uuid[], $10::timestamptz[], $11::int[], $12::uuid[], $13::uuid[],
                         $18::uuid[], $19::uuid[], $21::uuid[], $22::uuid[], $23::boolean[])
        AS t (partner_id, program_id, coupon_id, expires_at, redemption_limit, ledger_id, event_id, low_id,
              exhausted_id, shown_program_id, shown_partner_id, is_test)
), issuing AS MATERIALIZED (
    SELECT id FROM coupons
    WHERE id = ANY ($9::uuid[]) AND is_active AND archived_at IS NULL AND (starts_at IS NULL OR starts_at <= $15)
        AND (expires_at IS NULL OR $15 < expires_at)
        AND (redemption_limit IS NULL OR times_redeemed < redemption_limit)
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
    SELECT a.*, p.status, p.remaining, p.threshold, t.coupon_id IN (SELECT id FROM issuing) AS is_issuing,
           row_number() OVER (PARTITION BY a.partner_id, a.is_admitted ORDER BY a.nth) <= p.remaining AS fits
    FROM admitted a JOIN terms t USING (partner_id) LEFT JOIN partner p ON p.id = a.partner_id
), inserted AS (
    INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_auto_generated, expires_at,
                                 redemption_limit, created_by_key_id, reference, created_at, updated_at)
    SELECT code_id, program_id, coupon_id, partner_id, code, canonical, true, expires_at,
           redemption_limit, key_id, reference, $15, $15
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
        SELECT event_id AS id, 'codes.generated' AS type, json_strip_nulls(json_build_object(
            'program_id', shown_program_id, 'partner_id', shown_partner_id, 'coupon_id', coupon_id, 'codes', codes,
            'code_ids', code_ids, 'expires_at', expires_at, 'codes_remaining', remaining - amount,
            'is_test', nullif(is_test, false))) AS data
        FROM minted
        UNION ALL
        SELECT low_id, 'quota.low', json_strip_nulls(json_build_object(
            'program_id', shown_program_id, 'partner_id', shown_partner_id, 'codes_remaining', remaining - amount,
            'threshold', threshold, 'is_test', nullif(is_test, false)))
        FROM minted WHERE remaining > threshold AND remaining - amount <= threshold
        UNION ALL
        SELECT exhausted_id, 'quota.exhausted', json_strip_nulls(json_build_object(
            'program_id', shown_program_id, 'partner_id', shown_partner_id, 'is_test', nullif(is_test, false)))
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
       extract(epoch FROM started_at - clock_timestamp())::float8 + 60 AS resets_in,
       remaining - count(*) FILTER (WHERE result = 'minted') OVER (PARTITION BY partner_id ORDER BY nth) AS left_over,
       NULL::uuid AS event_id, NULL::bytea AS body
FROM outcome
UNION ALL
SELECT NULL, type, NULL, NULL, NULL, NULL, id, body FROM event
"""

# The usual case, several times cheaper: every key has room for its requests and every partner for its codes and more,
# with nothing to tell of its quota, so all are minted. Locks and decides as above, but for all together: where anything
# is in the way, it writes nothing and returns no row. A string that exists already raises. Each partner's codes stand
# side by side from `first` on.
#
# Idempotency keys are claimed and their answers kept as `shared.database.idempotency` does, but in the same breath: an
# answer that was committed after this snapshot and before the lock was free is met by the primary key, and raises.
MINT_ALL = """
WITH claimed AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE pg_try_advisory_xact_lock(lock_id)) = cardinality($22) AND NOT EXISTS (
        SELECT FROM unnest($23::uuid[], $24::text[], $25::text[]) AS r (owner_id, route, key), LATERAL (
            SELECT FROM idempotency_keys k
            WHERE k.owner_id = r.owner_id AND k.route = r.route AND k.key = r.key OFFSET 0) a) AS all_free
    FROM unnest($22::bigint[]) AS l (lock_id)
), locked_key AS MATERIALIZED (
    SELECT id, rate_limit_per_minute, revoked_at, window_started_at, window_used
    FROM api_keys WHERE id = ANY ($1::uuid[]) AND (SELECT all_free FROM claimed) ORDER BY id FOR NO KEY UPDATE
), key AS MATERIALIZED (
    SELECT w.id, k.rate_limit_per_minute AS limited_to,
           CASE WHEN running THEN window_started_at ELSE now_ END AS started_at,
           CASE WHEN running THEN window_used ELSE 0 END + w.charge AS used
    FROM (SELECT k.*, t.now_,
                 k.window_started_at > t.now_ - interval '60 s' AND k.window_started_at <= t.now_ AS running
          FROM locked_key k, (SELECT clock_timestamp() AS now_ WHERE (SELECT count(*) FROM locked_key) >= 0) t) k
    JOIN unnest($1::uuid[], $2::int[]) AS w (id, charge) ON w.id = k.id
    WHERE k.revoked_at IS NULL AND (k.rate_limit_per_minute IS NULL
        OR CASE WHEN running THEN window_used ELSE 0 END + w.charge <= k.rate_limit_per_minute)
), locked_partner AS MATERIALIZED (
    SELECT id, status, quota_granted + quota_adjusted - quota_minted + quota_refunded AS remaining,
           quota_low_threshold AS threshold
    FROM partners WHERE id = ANY ($3::uuid[]) AND (SELECT count(*) FROM locked_key) >= 0
    ORDER BY id FOR NO KEY UPDATE
), partner AS MATERIALIZED (
    SELECT w.*, p.remaining - w.charge AS remaining
    FROM locked_partner p
    JOIN unnest($3::uuid[], $4::int[], $5::int[], $6::text[], $7::uuid[], $8::uuid[], $9::bytea[])
        AS w (id, charge, first, actor, ledger_id, event_id, event_head) ON w.id = p.id
    WHERE p.status = 'active' AND p.remaining > w.charge
        AND (p.remaining > p.threshold AND p.remaining - w.charge <= p.threshold) IS NOT TRUE
), all_fit AS MATERIALIZED (
    SELECT WHERE (SELECT count(*) FROM key) = cardinality($1) AND (SELECT count(*) FROM partner) = cardinality($3)
        AND NOT EXISTS (
            SELECT FROM coupons WHERE id = ANY ($21::uuid[])
            AND NOT (is_active AND archived_at IS NULL AND (starts_at IS NULL OR starts_at <= $19)
                     AND (expires_at IS NULL OR $19 < expires_at)
                     AND (redemption_limit IS NULL OR times_redeemed < redemption_limit)))
), code AS (
    INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_auto_generated, expires_at,
                                 redemption_limit, created_by_key_id, created_at, updated_at)
    SELECT c.id, ($10::uuid[])[c.partner], ($11::uuid[])[c.partner], ($3::uuid[])[c.partner], c.code, c.canonical, true,
           ($12::timestamptz[])[c.partner], ($13::int[])[c.partner], ($1::uuid[])[c.key], $19, $19
    FROM all_fit, unnest($14::uuid[], $15::text[], $16::text[], $17::int[], $18::int[])
        AS c (id, code, canonical, key, partner)
), answer AS (
    INSERT INTO idempotency_keys (owner_id, route, key, request_sha256, status, body, is_encrypted, created_at)
    SELECT a.*, $19
    FROM all_fit, unnest($23::uuid[], $24::text[], $25::text[], $26::bytea[], $27::smallint[], $28::bytea[],
                         $29::boolean[]) AS a (owner_id, route, key, request_sha256, status, body, is_encrypted)
), charged_key AS (
    UPDATE api_keys a SET window_started_at = k.started_at, window_used = k.used
    FROM all_fit, key k WHERE a.id = k.id AND k.limited_to IS NOT NULL
), charged_partner AS (
    UPDATE partners p SET quota_minted = p.quota_minted + w.charge FROM all_fit, partner w WHERE p.id = w.id
), ledger AS (
    INSERT INTO quota_ledger (id, partner_id, kind, amount, code_ids, actor, created_at)
    SELECT ledger_id, id, 'mint', charge, ($14::uuid[])[first : first + charge - 1], actor, $19 FROM all_fit, partner
), event AS (
    INSERT INTO events (id, type, body)
    SELECT event_id, 'codes.generated', event_head || convert_to(remaining::text, 'UTF8') || '}}'::bytea
    FROM all_fit, partner
    RETURNING id, body
), pending AS (
    INSERT INTO outbox (event_id, leased_until)
    SELECT event_id, clock_timestamp() + make_interval(secs => $20) FROM all_fit, partner
)
SELECT id, limited_to, used, extract(epoch FROM started_at - clock_timestamp())::float8 + 60 AS resets_in,
       NULL::bytea AS body
FROM all_fit, key
UNION ALL
SELECT id, NULL, NULL, NULL, body FROM event
"""

MintResult = Literal["minted", "collided"] | MintRefusal


class CodeTaken(StartOver):
    """A random string exists already."""


class AnsweredMeanwhile(StartOver):
    """Another process has answered a request with one of the keys since they were looked for."""


class MintRequest(NamedTuple):
    """One request of a group, with the code that it gets if all is well."""

    key_id: uuid.UUID
    terms: MintingTerms
    code_id: uuid.UUID
    code: str
    canonical: str
    expires_at: datetime
    reference: str | None = None


class MintRow(NamedTuple):
    """What came of one request; the rate members are None for a key without a limit.

    `remaining` is what its partner has left after it, where requests are judged one by one.
    """

    result: MintResult
    limit: int | None
    used: int | None
    resets_in_seconds: float | None
    remaining: int | None = None


async def find_terms(connection: Connection, partner_id: uuid.UUID) -> MintingTerms | None:
    """Read how a partner's codes look."""
    row = await connection.fetchrow(FIND_TERMS, partner_id)
    return MintingTerms(**row) if row is not None else None


async def mint_all(
    connection: Connection,
    requests: Sequence[MintRequest],
    answers: Sequence[KeptAnswer],
    new_id: Callable[[], uuid.UUID],
    now: datetime,
) -> tuple[list[MintRow], list[OutboxEvent]] | None:
    """Mint for all requests, or return None with nothing written or charged where not all can have their code.

    All requests of a group were made at `now`; `answers` are kept with what they report. Raises CodeTaken or
    AnsweredMeanwhile, which end a transaction.
    """
    group = _Group.of(requests)
    first_of = [codes[0] for codes in group.by_partner.values()]
    events = {new_id(): codes for codes in group.by_partner.values()}
    try:
        rows = await connection.fetch(
            MINT_ALL,
            list(group.charges),
            list(group.charges.values()),
            list(group.by_partner),
            [len(codes) for codes in group.by_partner.values()],
            group.starts,
            [_actor(codes) for codes in group.by_partner.values()],
            [new_id() for _ in first_of],
            list(events),
            [_event_until_remaining(codes, event_id, now) for event_id, codes in events.items()],
            [r.terms.program_id for r in first_of],
            [r.terms.coupon_id for r in first_of],
            [r.expires_at for r in first_of],
            [r.terms.redemption_limit for r in first_of],
            [r.code_id for r in group.ordered],
            [r.code for r in group.ordered],
            [r.canonical for r in group.ordered],
            group.key_numbers,
            group.partner_numbers,
            now,
            LEASE_SECONDS,
            list({r.terms.coupon_id for r in first_of}),
            [answer.request.lock_id for answer in answers],
            *answer_columns(answers),
        )
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "promotion_codes_live":
            raise CodeTaken from None
        if error.constraint_name == "idempotency_keys_pkey":
            raise AnsweredMeanwhile from None
        raise
    if not rows:
        return None
    made = [OutboxEvent(row["id"], CodesGeneratedV1.type, body) for row in rows if (body := row["body"]) is not None]
    states = {row["id"]: tuple(row)[1:4] for row in rows if row["body"] is None}
    return list(_shared_out(requests, group.charges, states)), made


class _Group(NamedTuple):
    """A group of requests with each partner's side by side; numbers and starts count from 1, as SQL's arrays do."""

    charges: dict[uuid.UUID, int]
    by_partner: dict[uuid.UUID, list[MintRequest]]
    ordered: list[MintRequest]
    starts: list[int]
    key_numbers: list[int]
    partner_numbers: list[int]

    @classmethod
    def of(cls, requests: Sequence[MintRequest]) -> "_Group":
        charges: dict[uuid.UUID, int] = {}
        by_partner: dict[uuid.UUID, list[MintRequest]] = {}
        for request in requests:
            charges[request.key_id] = charges.get(request.key_id, 0) + 1
            by_partner.setdefault(request.terms.partner_id, []).append(request)
        number_of = {key_id: number for number, key_id in enumerate(charges, 1)}
        group = cls(charges, by_partner, [], [], [], [])
        for number, codes in enumerate(by_partner.values(), 1):
            group.starts.append(len(group.ordered) + 1)
            group.ordered.extend(codes)
            group.key_numbers.extend([number_of[request.key_id] for request in codes])
            group.partner_numbers.extend([number] * len(codes))
        return group


def _actor(codes: Sequence[MintRequest]) -> str:
    return "key " + " ".join(sorted({str(request.key_id) for request in codes}))


def _shared_out(
    requests: Sequence[MintRequest], charges: dict[uuid.UUID, int], states: dict[uuid.UUID, tuple[Any, ...]]
) -> Iterator[MintRow]:
    """Say of each request where its key stood when its turn came."""
    waiting = dict(charges)
    for request in requests:
        limit, used, resets_in = states[request.key_id]
        if limit is None:
            yield MintRow("minted", None, None, None)
            continue
        waiting[request.key_id] -= 1
        yield MintRow("minted", limit, used - waiting[request.key_id], resets_in)


def _event_until_remaining(codes: Sequence[MintRequest], event_id: uuid.UUID, now: datetime) -> bytes:
    """Freeze the event up to its last member, which only the statement knows: what remains of the quota."""
    terms = codes[0].terms
    data: dict[str, Any] = {
        "program_id": shown_id(terms.program_id),
        "partner_id": shown_id(terms.partner_id),
        "coupon_id": terms.coupon_id,
        "codes": [request.code for request in codes],
        "code_ids": [request.code_id for request in codes],
        "expires_at": format_microseconds(codes[0].expires_at),
    }
    if is_test(terms.program_id):
        data["is_test"] = True
    head = envelope_head(CodesGeneratedV1, event_id, now)
    return head + orjson.dumps(data, default=str)[:-1] + b',"codes_remaining":'


async def mint_group(
    connection: Connection,
    requests: Sequence[MintRequest],
    key_ids: Collection[uuid.UUID],
    new_id: Callable[[], uuid.UUID],
    now: datetime,
) -> tuple[list[MintRow], list[OutboxEvent]]:
    """Decide and write a group in one statement; rows come back in the order of the requests.

    All requests of a group were made at `now`, so those of one partner share their terms and their expiry. `key_ids`
    are locked: those of the requests, and those that the same transaction may come to need, since keys go before
    partners.
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
        list(key_ids),
        now,
        format_microseconds(now),
        LEASE_SECONDS,
        [new_id() for _ in by_partner],
        [new_id() for _ in by_partner],
        [r.reference for r in requests],
        [in_mode(r.terms.program_id, test=False) for r in by_partner.values()],
        [in_mode(r.terms.partner_id, test=False) for r in by_partner.values()],
        [is_test(r.terms.program_id) for r in by_partner.values()],
    )
    results: dict[int, MintRow] = {}
    events = []
    for nth, result, limit, used, resets_in, remaining, event_id, body in rows:
        if event_id is None:
            results[nth] = MintRow(result, limit, used, resets_in, remaining)
        else:
            events.append(OutboxEvent(event_id, result, body))
    return [results[nth] for nth in range(len(requests))], events
