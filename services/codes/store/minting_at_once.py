"""The grouped mint in the usual case: every request gets its code, and one statement does it all, or else nothing."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import orjson

from services.codes.store.minting import MintRequest, MintRow
from shared.accounts import is_account_id
from shared.database.idempotency import KeptAnswer, answer_columns
from shared.database.outbox import LEASE_SECONDS
from shared.database.pool import Connection
from shared.database.rows import Statement
from shared.events.codes import CodesGeneratedV1
from shared.events.envelope import OutboxEvent, envelope_head
from shared.modes import is_test, shown_id
from shared.starting_over import StartOver
from shared.times import format_microseconds

# The usual case, several times cheaper: every key has room for its requests and every partner for its codes and more,
# no event about a quota is due (`usecases.announcements` has the rule), so all are minted. Locks and decides like
# `MINT_GROUP`, but for all together: if anything prevents one mint, it writes nothing and returns no row. An existing
# string raises. Each partner's codes are adjacent, from `first` on.
#
# Idempotency keys are claimed and their answers stored as in `shared.database.idempotency`, but in one statement: an
# answer committed after this snapshot and before the lock was free violates the primary key, and raises.
MINT_ALL = Statement("""
WITH claimed AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE pg_try_advisory_xact_lock(lock_id)) = cardinality($a.lock_id) AND NOT EXISTS (
        SELECT FROM @a(owner_id uuid, route text, key text), LATERAL (
            SELECT FROM idempotency_keys k
            WHERE k.owner_id = a.owner_id AND k.route = a.route AND k.key = a.key OFFSET 0) kept) AS all_free
    FROM unnest($a.lock_id::bigint[]) AS l (lock_id)
), locked_key AS MATERIALIZED (
    SELECT id, rate_limit_per_minute, revoked_at, window_started_at, window_used
    FROM api_keys WHERE id = ANY ($w.id::uuid[]) AND (SELECT all_free FROM claimed) ORDER BY id FOR NO KEY UPDATE
), key AS MATERIALIZED (
    SELECT w.id, k.rate_limit_per_minute AS limited_to,
           CASE WHEN running THEN window_started_at ELSE now_ END AS started_at,
           CASE WHEN running THEN window_used ELSE 0 END + w.charge AS used
    FROM (SELECT k.*, t.now_,
                 k.window_started_at > t.now_ - interval '60 s' AND k.window_started_at <= t.now_ AS running
          FROM locked_key k, (SELECT clock_timestamp() AS now_ WHERE (SELECT count(*) FROM locked_key) >= 0) t) k
    JOIN @w(id uuid, charge int) ON w.id = k.id
    WHERE k.revoked_at IS NULL AND (k.rate_limit_per_minute IS NULL
        OR CASE WHEN running THEN window_used ELSE 0 END + w.charge <= k.rate_limit_per_minute)
), locked_partner AS MATERIALIZED (
    SELECT id, status, quota_granted + quota_adjusted - quota_minted + quota_refunded AS remaining,
           quota_low_threshold AS threshold
    FROM partners WHERE id = ANY ($o.id::uuid[]) AND (SELECT count(*) FROM locked_key) >= 0
    ORDER BY id FOR NO KEY UPDATE
), partner AS MATERIALIZED (
    SELECT o.*, p.remaining - o.charge AS remaining
    FROM locked_partner p
    JOIN @o(id uuid, charge int, first int, actor text, ledger_id uuid, event_id uuid, event_head bytea) ON o.id = p.id
    WHERE p.status = 'active' AND p.remaining > o.charge
        AND (p.remaining > p.threshold AND p.remaining - o.charge <= p.threshold) IS NOT TRUE
), all_fit AS MATERIALIZED (
    SELECT WHERE (SELECT count(*) FROM key) = cardinality($w.id) AND (SELECT count(*) FROM partner) = cardinality($o.id)
        AND NOT EXISTS (
            SELECT FROM coupons WHERE id = ANY ($coupon_ids::uuid[])
            AND NOT (is_active AND archived_at IS NULL AND (starts_at IS NULL OR starts_at <= $now)
                     AND (expires_at IS NULL OR $now < expires_at)
                     AND (redemption_limit IS NULL OR times_redeemed < redemption_limit)))
), code AS (
    INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_auto_generated, expires_at,
                                 redemption_limit, created_by_key_id, created_at, updated_at)
    SELECT c.id, ($o.program_id::uuid[])[c.partner], ($o.coupon_id::uuid[])[c.partner], ($o.id::uuid[])[c.partner],
           c.code, c.canonical, true, ($o.expires_at::timestamptz[])[c.partner],
           ($o.redemption_limit::int[])[c.partner], ($w.id::uuid[])[c.key], $now, $now
    FROM all_fit, @c(id uuid, code text, canonical text, key int, partner int)
), answer AS (
    INSERT INTO idempotency_keys (owner_id, route, key, request_sha256, status, body, is_encrypted, created_at)
    SELECT a.*, $now
    FROM all_fit, @a(owner_id uuid, route text, key text, request_sha256 bytea, status smallint, body bytea,
                     is_encrypted boolean)
), charged_key AS (
    UPDATE api_keys a SET window_started_at = k.started_at, window_used = k.used
    FROM all_fit, key k WHERE a.id = k.id AND k.limited_to IS NOT NULL
), charged_partner AS (
    UPDATE partners p SET quota_minted = p.quota_minted + w.charge FROM all_fit, partner w WHERE p.id = w.id
), ledger AS (
    INSERT INTO quota_ledger (id, partner_id, kind, amount, code_ids, actor, created_at)
    SELECT ledger_id, id, 'mint', charge, ($c.id::uuid[])[first : first + charge - 1], actor, $now FROM all_fit, partner
), event AS (
    INSERT INTO events (id, type, body)
    SELECT event_id, 'codes.generated', event_head || convert_to(remaining::text, 'UTF8') || '}}'::bytea
    FROM all_fit, partner
    RETURNING id, body
), pending AS (
    INSERT INTO outbox (event_id, leased_until)
    SELECT event_id, clock_timestamp() + make_interval(secs => $lease_seconds) FROM all_fit, partner
)
SELECT id, limited_to, used, extract(epoch FROM started_at - clock_timestamp())::float8 + 60 AS resets_in,
       NULL::bytea AS body
FROM all_fit, key
UNION ALL
SELECT id, NULL, NULL, NULL, body FROM event
""")


class CodeTaken(StartOver):
    """A random string exists already."""


class AnsweredMeanwhile(StartOver):
    """Another process has answered a request with one of the keys since the lookup."""


async def mint_all(
    connection: Connection,
    requests: Sequence[MintRequest],
    answers: Sequence[KeptAnswer],
    new_id: Callable[[], uuid.UUID],
    now: datetime,
) -> tuple[list[MintRow], list[OutboxEvent]] | None:
    """Mint for all requests, or return None with nothing written or charged if not all can have their code.

    All requests of a group were made at `now`; `answers` are stored with their effects. Raises CodeTaken or
    AnsweredMeanwhile, which end a transaction.
    """
    group = _Group.of(requests)
    events = {new_id(): codes for codes in group.by_partner.values()}
    try:
        rows = await connection.fetch(
            *MINT_ALL(
                w={"id": list(group.charges), "charge": list(group.charges.values())},
                o=group.partner_columns(events, new_id, now),
                c=group.code_columns(),
                a={**answer_columns(answers), "lock_id": [answer.request.lock_id for answer in answers]},
                coupon_ids=list({codes[0].terms.coupon_id for codes in events.values()}),
                now=now,
                lease_seconds=LEASE_SECONDS,
            )
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
    states = {row["id"]: row for row in rows if row["body"] is None}
    return list(_shared_out(requests, group.charges, states)), made


class _Group(NamedTuple):
    """A group of requests with each partner's adjacent; numbers and starts count from 1, like SQL's arrays."""

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

    def partner_columns(
        self, events: Mapping[uuid.UUID, Sequence[MintRequest]], new_id: Callable[[], uuid.UUID], now: datetime
    ) -> dict[str, list[Any]]:
        """Return the values that are written once per partner; `events` are their codes by the ids of the events."""
        first_of = [codes[0] for codes in events.values()]
        return {
            "id": list(self.by_partner),
            "charge": [len(codes) for codes in events.values()],
            "first": self.starts,
            "actor": [_actor(codes) for codes in events.values()],
            "ledger_id": [new_id() for _ in events],
            "event_id": list(events),
            "event_head": [_event_until_remaining(codes, event_id, now) for event_id, codes in events.items()],
            "program_id": [request.terms.program_id for request in first_of],
            "coupon_id": [request.terms.coupon_id for request in first_of],
            "expires_at": [request.expires_at for request in first_of],
            "redemption_limit": [request.terms.redemption_limit for request in first_of],
        }

    def code_columns(self) -> dict[str, list[Any]]:
        """Return the codes."""
        return {
            "id": [request.code_id for request in self.ordered],
            "code": [request.code for request in self.ordered],
            "canonical": [request.canonical for request in self.ordered],
            "key": self.key_numbers,
            "partner": self.partner_numbers,
        }


def _actor(codes: Sequence[MintRequest]) -> str:
    ids = sorted({request.key_id for request in codes})
    keys = [str(each) for each in ids if not is_account_id(each)]
    accounts = [str(each) for each in ids if is_account_id(each)]
    return " ".join([*(["key", *keys] if keys else []), *(["account", *accounts] if accounts else [])])


def _shared_out(
    requests: Sequence[MintRequest], charges: dict[uuid.UUID, int], states: Mapping[uuid.UUID, Any]
) -> Iterator[MintRow]:
    """Return, for each request, the rate limit of its key at its turn."""
    waiting = dict(charges)
    for request in requests:
        state = states[request.key_id]
        if state["limited_to"] is None:
            yield MintRow("minted", None, None, None)
            continue
        waiting[request.key_id] -= 1
        yield MintRow("minted", state["limited_to"], state["used"] - waiting[request.key_id], state["resets_in"])


def _event_until_remaining(codes: Sequence[MintRequest], event_id: uuid.UUID, now: datetime) -> bytes:
    """Freeze the event up to its last member, the remaining quota, which only the statement knows."""
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
