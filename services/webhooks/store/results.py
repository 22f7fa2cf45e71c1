"""Writes what came of attempts, in groups; the token of the lease fences off what another process has taken over."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from services.webhooks.domain.deliveries import DeliveryStatus, HeldDelivery, Settlement
from services.webhooks.domain.health import Health
from services.webhooks.domain.standing import Standing
from shared.database.pool import Connection
from shared.erasing import ERASED

RECORD_ATTEMPTS = """
WITH result AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::int[],
                         $7::smallint[], $8::text[], $9::text[], $10::text[], $12::int[], $13::int[], $14::int[],
                         $15::int[], $16::text[], $17::jsonb[], $18::jsonb[])
        AS r (delivery_id, token, outcome, due_at, started_at, duration_ms, status, error_code, response, trigger,
              dns_ms, connect_ms, tls_ms, ttfb_ms, remote_ip, request_headers, response_headers)
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
        completed_at = CASE WHEN r.outcome = 'pending' THEN NULL ELSE $11::timestamptz END
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
"""
END_UNSENT = """
WITH ended AS (
    DELETE FROM delivery_queue q USING unnest($1::uuid[], $2::bigint[]) AS r (delivery_id, token)
    WHERE q.delivery_id = r.delivery_id AND q.token = r.token
    RETURNING q.delivery_id)
UPDATE deliveries d SET status = $3, completed_at = $4 FROM ended WHERE d.id = ended.delivery_id
RETURNING d.id, d.attempts_made, d.last_status
"""
INSERT_DEAD_LETTERS = """
INSERT INTO dead_letters (delivery_id, endpoint_id, event_type, reason, died_at, ordering_key, position)
SELECT delivery_id, endpoint_id, event_type, reason, $5, ordering_key,
       CASE WHEN ordering_key IS NOT NULL THEN sequence END
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $6::text[], $7::bigint[])
    AS d (delivery_id, endpoint_id, event_type, reason, ordering_key, sequence)
ON CONFLICT (delivery_id) DO UPDATE SET reason = excluded.reason, died_at = excluded.died_at
"""
# Locked in one order before anything is decided, so that two groups neither overrule each other nor wait in a circle.
LOCK_STANDINGS = """
SELECT id, version, status = 'disabled' OR archived_at IS NOT NULL AS is_disabled, resume_at, breaker_trips,
       failing_since, last_success_at, last_failure_at, warned_level
FROM endpoints WHERE id = ANY($1::uuid[])
ORDER BY id FOR NO KEY UPDATE
"""
UPDATE_STANDINGS = """
UPDATE endpoints e
SET resume_at = s.resume_at, breaker_trips = s.breaker_trips,
    breaker = CASE WHEN s.breaker_trips = 0 THEN 'closed' ELSE 'open' END,
    failing_since = s.failing_since, last_success_at = s.last_success_at, last_failure_at = s.last_failure_at,
    warned_level = s.warned_level,
    status = CASE WHEN s.disabled_reason IS NULL THEN e.status ELSE 'disabled' END,
    disabled_reason = coalesce(s.disabled_reason, e.disabled_reason),
    is_closing = e.is_closing OR s.disabled_reason IS NOT NULL,
    version = e.version + CASE WHEN s.disabled_reason IS NULL THEN 0 ELSE 1 END,
    updated_at = CASE WHEN s.disabled_reason IS NULL THEN e.updated_at ELSE $9 END
FROM unnest($1::uuid[], $2::timestamptz[], $3::smallint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
            $7::smallint[], $8::text[])
    AS s (id, resume_at, breaker_trips, failing_since, last_success_at, last_failure_at, warned_level, disabled_reason)
WHERE e.id = s.id
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A delivery that was ended without another attempt."""

    delivery_id: uuid.UUID
    attempts_made: int
    last_status: int | None


async def record_attempts(
    connection: Connection, settlements: Sequence[Settlement], now: datetime
) -> dict[uuid.UUID, int]:
    """Write attempts and what follows from them; return delivery ids with their number of attempts.

    What is not returned was taken over by another process meanwhile, and nothing of it is written.
    """
    rows = await connection.fetch(
        RECORD_ATTEMPTS,
        [s.held.delivery_id for s in settlements],
        [s.held.token for s in settlements],
        [s.decision.status for s in settlements],
        _sparse([s.decision.due_at for s in settlements]),
        [s.answer.started_at for s in settlements],
        [s.answer.duration_ms for s in settlements],
        [s.answer.status for s in settlements],
        _sparse([s.answer.error_code for s in settlements]),
        _sparse([ERASED if s.held.is_erased and s.answer.response else s.answer.response for s in settlements]),
        [s.held.trigger for s in settlements],
        now,
        _sparse([s.answer.dns_ms for s in settlements]),
        _sparse([s.answer.connect_ms for s in settlements]),
        _sparse([s.answer.tls_ms for s in settlements]),
        [s.answer.ttfb_ms for s in settlements],
        [s.answer.remote_ip for s in settlements],
        [_json(s.answer.request_headers) for s in settlements],
        [_json(None if s.held.is_erased else s.answer.response_headers) for s in settlements],
    )
    return {row["delivery_id"]: row["number"] for row in rows}


async def end_unsent(
    connection: Connection, held: Sequence[HeldDelivery], status: DeliveryStatus, now: datetime
) -> list[Ended]:
    """End leased deliveries without an attempt."""
    rows = await connection.fetch(END_UNSENT, [h.delivery_id for h in held], [h.token for h in held], status, now)
    return [Ended(row["id"], row["attempts_made"], row["last_status"]) for row in rows]


async def insert_dead_letters(connection: Connection, dead: Sequence[tuple[HeldDelivery, str]], now: datetime) -> None:
    """Write dead letters with their reasons."""
    await connection.execute(
        INSERT_DEAD_LETTERS,
        [h.delivery_id for h, _ in dead],
        [h.endpoint_id for h, _ in dead],
        [h.event_type for h, _ in dead],
        [reason for _, reason in dead],
        now,
        [h.ordering_key for h, _ in dead],
        [h.sequence for h, _ in dead],
    )


async def lock_standings(connection: Connection, endpoint_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Standing]:
    """Return how endpoints stand, and keep others from changing it until the transaction ends."""
    rows = await connection.fetch(LOCK_STANDINGS, list(endpoint_ids))
    return {
        row["id"]: Standing(
            row["version"],
            row["is_disabled"],
            row["resume_at"],
            row["breaker_trips"],
            Health(row["failing_since"], row["last_success_at"], row["last_failure_at"], row["warned_level"]),
        )
        for row in rows
    }


async def update_standings(connection: Connection, standings: Mapping[uuid.UUID, Standing], now: datetime) -> None:
    """Write how endpoints stand that were locked before; one with a reason to be disabled is switched off."""
    values = list(standings.values())
    await connection.execute(
        UPDATE_STANDINGS,
        list(standings),
        [s.resume_at for s in values],
        [s.breaker_trips for s in values],
        [s.health.failing_since for s in values],
        [s.health.last_success_at for s in values],
        [s.health.last_failure_at for s in values],
        [s.health.warned_level for s in values],
        [s.disabled_reason for s in values],
        now,
    )


def _sparse(column: Sequence[object]) -> Sequence[object]:
    """Return a column, and an empty one if it holds nothing: `unnest` fills up what is shorter with NULL.

    Each NULL costs nearly as much as a value, and most groups have nothing in a third of the columns.
    """
    return [] if column.count(None) == len(column) else column


def _json(headers: Mapping[str, str] | None) -> str | None:
    return None if headers is None else orjson.dumps(headers).decode()
