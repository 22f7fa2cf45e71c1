"""Writes the results of attempts in groups; the token of the lease fences off what another process has taken over."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from services.webhooks.domain.deliveries import DeliveryStatus, HeldDelivery, Settlement
from services.webhooks.domain.health import Health
from services.webhooks.domain.standing import Standing
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values, sparse
from shared.erasing import ERASED

RECORD_ATTEMPTS = Statement("""
WITH result AS (
    SELECT * FROM @r(delivery_id uuid, token bigint, outcome text, due_at timestamptz, started_at timestamptz,
                     duration_ms int, status smallint, error_code text, response text, trigger text, dns_ms int,
                     connect_ms int, tls_ms int, ttfb_ms int, remote_ip text, request_headers jsonb,
                     response_headers jsonb)
), finished AS (
    DELETE FROM delivery_queue q USING result r
    WHERE q.delivery_id = r.delivery_id AND q.token = r.token AND r.outcome <> 'pending'
    RETURNING q.delivery_id
), rescheduled AS (
    UPDATE delivery_queue q SET visible_at = r.due_at, token = NULL, step = q.step + 1 FROM result r
    WHERE q.delivery_id = r.delivery_id AND q.token = r.token AND r.outcome = 'pending'
    RETURNING q.delivery_id
), delivery AS (
    UPDATE deliveries d
    SET status = r.outcome, attempts_made = d.attempts_made + 1, last_status = r.status, last_error_code = r.error_code,
        completed_at = CASE WHEN r.outcome = 'pending' THEN NULL ELSE $now::timestamptz END
    FROM (SELECT delivery_id FROM finished UNION ALL SELECT delivery_id FROM rescheduled) AS mine
    JOIN result r ON r.delivery_id = mine.delivery_id
    WHERE d.id = mine.delivery_id
    RETURNING d.id, d.attempts_made, r.*
)
INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms, ttfb_ms,
                      remote_ip, request_headers, status, error_code, response_headers, response, next_attempt_at)
SELECT id, attempts_made, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms, ttfb_ms,
       remote_ip, request_headers, status, error_code, response_headers, response, due_at
FROM delivery
RETURNING delivery_id, number
""")
END_UNSENT = Statement("""
WITH ended AS (
    DELETE FROM delivery_queue q USING @r(delivery_id uuid, token bigint)
    WHERE q.delivery_id = r.delivery_id AND q.token = r.token
    RETURNING q.delivery_id)
UPDATE deliveries d SET status = $status, completed_at = $now FROM ended WHERE d.id = ended.delivery_id
RETURNING d.id AS delivery_id, d.attempts_made, d.last_status
""")
INSERT_DEAD_LETTERS = Statement("""
INSERT INTO dead_letters (delivery_id, endpoint_id, event_type, reason, died_at, ordering_key, position)
SELECT delivery_id, endpoint_id, event_type, reason, $now, ordering_key,
       CASE WHEN ordering_key IS NOT NULL THEN sequence END
FROM @d(delivery_id uuid, endpoint_id uuid, event_type text, reason text, ordering_key text, sequence bigint)
ON CONFLICT (delivery_id) DO UPDATE SET reason = excluded.reason, died_at = excluded.died_at
""")
# Locked in one order before anything is decided, so that two groups neither overwrite each other nor deadlock.
LOCK_STANDINGS = """
SELECT id, version, status = 'disabled' OR archived_at IS NOT NULL AS is_disabled, resume_at, breaker_trips,
       failing_since, last_success_at, last_failure_at, warned_level
FROM endpoints WHERE id = ANY($1::uuid[])
ORDER BY id FOR NO KEY UPDATE
"""
UPDATE_STANDINGS = Statement("""
UPDATE endpoints e
SET resume_at = s.resume_at, breaker_trips = s.breaker_trips,
    breaker = CASE WHEN s.breaker_trips = 0 THEN 'closed' ELSE 'open' END,
    failing_since = s.failing_since, last_success_at = s.last_success_at, last_failure_at = s.last_failure_at,
    warned_level = s.warned_level,
    status = CASE WHEN s.disabled_reason IS NULL THEN e.status ELSE 'disabled' END,
    disabled_reason = coalesce(s.disabled_reason, e.disabled_reason),
    is_closing = e.is_closing OR s.disabled_reason IS NOT NULL,
    version = e.version + CASE WHEN s.disabled_reason IS NULL THEN 0 ELSE 1 END,
    updated_at = CASE WHEN s.disabled_reason IS NULL THEN e.updated_at ELSE $now END
FROM @s(id uuid, resume_at timestamptz, breaker_trips smallint, failing_since timestamptz,
        last_success_at timestamptz, last_failure_at timestamptz, warned_level smallint, disabled_reason text)
WHERE e.id = s.id
""")


@dataclass(frozen=True, slots=True)
class Ended:
    """A delivery that was ended without another attempt."""

    delivery_id: uuid.UUID
    attempts_made: int
    last_status: int | None


_ENDED: Final = Rows(Ended)
_STANDING: Final = Rows(Standing, "health", "disabled_reason")
_HEALTH: Final = Rows(Health)
_HEALTH_VALUES: Final = Values(
    UPDATE_STANDINGS.tables["s"], Health, *("id", "resume_at", "breaker_trips", "disabled_reason")
)


async def record_attempts(
    connection: Connection, settlements: Sequence[Settlement], now: datetime
) -> dict[uuid.UUID, int]:
    """Write attempts and what follows from them; return delivery ids with their number of attempts.

    Deliveries that are not returned were taken over by another process meanwhile, and nothing of them is written.
    """
    answers = [s.answer for s in settlements]
    columns = {
        "delivery_id": [s.held.delivery_id for s in settlements],
        "token": [s.held.token for s in settlements],
        "outcome": [s.decision.status for s in settlements],
        "due_at": sparse([s.decision.due_at for s in settlements]),
        "started_at": [a.started_at for a in answers],
        "duration_ms": [a.duration_ms for a in answers],
        "status": [a.status for a in answers],
        "error_code": sparse([a.error_code for a in answers]),
        "response": sparse(
            [ERASED if s.held.is_erased and s.answer.response else s.answer.response for s in settlements]
        ),
        "trigger": [s.held.trigger for s in settlements],
        "dns_ms": sparse([a.dns_ms for a in answers]),
        "connect_ms": sparse([a.connect_ms for a in answers]),
        "tls_ms": sparse([a.tls_ms for a in answers]),
        "ttfb_ms": [a.ttfb_ms for a in answers],
        "remote_ip": [a.remote_ip for a in answers],
        "request_headers": [_json(a.request_headers) for a in answers],
        "response_headers": [_json(None if s.held.is_erased else s.answer.response_headers) for s in settlements],
    }
    rows = await connection.fetch(*RECORD_ATTEMPTS(r=columns, now=now))
    return {row["delivery_id"]: row["number"] for row in rows}


async def end_unsent(
    connection: Connection, held: Sequence[HeldDelivery], status: DeliveryStatus, now: datetime
) -> list[Ended]:
    """End leased deliveries without an attempt."""
    columns = {"delivery_id": [h.delivery_id for h in held], "token": [h.token for h in held]}
    rows = await connection.fetch(*END_UNSENT(r=columns, status=status, now=now))
    return [_ENDED(row) for row in rows]


async def insert_dead_letters(connection: Connection, dead: Sequence[tuple[HeldDelivery, str]], now: datetime) -> None:
    """Write dead letters with their reasons."""
    columns = {
        "delivery_id": [h.delivery_id for h, _ in dead],
        "endpoint_id": [h.endpoint_id for h, _ in dead],
        "event_type": [h.event_type for h, _ in dead],
        "reason": [reason for _, reason in dead],
        "ordering_key": [h.ordering_key for h, _ in dead],
        "sequence": [h.sequence for h, _ in dead],
    }
    await connection.execute(*INSERT_DEAD_LETTERS(d=columns, now=now))


async def lock_standings(connection: Connection, endpoint_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Standing]:
    """Lock and return the standings of endpoints."""
    rows = await connection.fetch(LOCK_STANDINGS, list(endpoint_ids))
    return {row["id"]: _STANDING(row, health=_HEALTH(row)) for row in rows}


async def update_standings(connection: Connection, standings: Mapping[uuid.UUID, Standing], now: datetime) -> None:
    """Write the standings of locked endpoints; one with a reason to be disabled is disabled."""
    values = list(standings.values())
    columns = {
        "id": list(standings),
        "resume_at": [s.resume_at for s in values],
        "breaker_trips": [s.breaker_trips for s in values],
        **_HEALTH_VALUES.columns([s.health for s in values]),
        "disabled_reason": [s.disabled_reason for s in values],
    }
    await connection.execute(*UPDATE_STANDINGS(s=columns, now=now))


def _json(headers: Mapping[str, str] | None) -> str | None:
    return None if headers is None else orjson.dumps(headers).decode()
