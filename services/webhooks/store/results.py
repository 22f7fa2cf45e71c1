"""Writes what came of attempts, in groups; the token of the lease fences off what another process has taken over."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.webhooks.domain.deliveries import DeliveryStatus, HeldDelivery, Settlement
from shared.database.pool import Connection

RECORD_ATTEMPTS = """
WITH result AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::int[],
                         $7::smallint[], $8::text[], $9::text[], $10::text[])
        AS r (delivery_id, token, outcome, due_at, started_at, duration_ms, status, error_code, response, trigger)
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
    RETURNING d.id, d.attempts_made, r.trigger, r.started_at, r.duration_ms, r.status, r.error_code, r.response
)
INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, status, error_code, response)
SELECT id, attempts_made, trigger, started_at, duration_ms, status, error_code, response FROM delivery
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
INSERT INTO dead_letters (delivery_id, endpoint_id, event_type, reason, died_at)
SELECT delivery_id, endpoint_id, event_type, reason, $5
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS d (delivery_id, endpoint_id, event_type, reason)
ON CONFLICT (delivery_id) DO UPDATE SET reason = excluded.reason, died_at = excluded.died_at
"""
# The version is that of the attempt: whoever has changed the endpoint meanwhile is not overruled by an old answer.
REST_ENDPOINTS = """
UPDATE endpoints e SET resume_at = r.resume_at
FROM (SELECT q.id, max(q.resume_at) AS resume_at
      FROM unnest($1::uuid[], $2::int[], $3::timestamptz[]) AS q (id, version, resume_at)
      JOIN endpoints f ON f.id = q.id AND f.version = q.version
      GROUP BY q.id) AS r
WHERE e.id = r.id AND (e.resume_at IS NULL OR e.resume_at < r.resume_at)
"""
DISABLE_ENDPOINTS = """
UPDATE endpoints e
SET status = 'disabled', disabled_reason = 'gone', resume_at = NULL, version = e.version + 1, updated_at = $3
FROM unnest($1::uuid[], $2::int[]) AS r (id, version)
WHERE e.id = r.id AND e.version = r.version AND e.status <> 'disabled' AND e.archived_at IS NULL
RETURNING e.id
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
        [s.decision.due_at for s in settlements],
        [s.answer.started_at for s in settlements],
        [s.answer.duration_ms for s in settlements],
        [s.answer.status for s in settlements],
        [s.answer.error_code for s in settlements],
        [s.answer.response for s in settlements],
        [s.held.trigger for s in settlements],
        now,
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
    )


async def rest_endpoints(connection: Connection, rests: Sequence[tuple[uuid.UUID, int, datetime]]) -> None:
    """Let endpoints rest until a time; a later time that is there already stays."""
    ordered = sorted(rests, key=lambda rest: rest[0])
    await connection.execute(REST_ENDPOINTS, [r[0] for r in ordered], [r[1] for r in ordered], [r[2] for r in ordered])


async def disable_endpoints(
    connection: Connection, gone: Sequence[tuple[uuid.UUID, int]], now: datetime
) -> set[uuid.UUID]:
    """Switch endpoints off whose receiver is gone, and return those that were on until now."""
    ordered = sorted(set(gone))
    rows = await connection.fetch(DISABLE_ENDPOINTS, [g[0] for g in ordered], [g[1] for g in ordered], now)
    return {row["id"] for row in rows}
