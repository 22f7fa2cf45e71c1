"""What a single delivery needs to be sent manually, canceled, or stripped of its response."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from services.webhooks.domain.deliveries import Answer, DeliveryStatus, Trigger
from services.webhooks.domain.endpoints import Owner
from services.webhooks.store import closing, queue
from services.webhooks.store.deliveries import insert_attempt
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement

FIND_ENDPOINT_OF = """
SELECT d.endpoint_id FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id
WHERE d.id = $1 AND e.program_id = $2 AND ($3::uuid IS NULL OR e.partner_id = $3) AND e.archived_at IS NULL
"""
LOCK_WITH_BODY = """
SELECT d.endpoint_id, d.message_id, d.format, d.status, d.sequence, m.body, m.traceparent
FROM deliveries d
JOIN endpoints e ON e.id = d.endpoint_id
LEFT JOIN messages m ON m.id = d.message_id AND m.format = d.format
WHERE d.id = $1 AND e.program_id = $2 AND ($3::uuid IS NULL OR e.partner_id = $3) AND e.archived_at IS NULL
FOR NO KEY UPDATE OF d
"""
# Only a delivery that no process is sending: the old time is kept, to be restored after a failure. A delivery that
# waits for its turn is due at infinity.
LEASE_ONE = """
UPDATE delivery_queue q SET token = $2, visible_at = $3
FROM (SELECT delivery_id, visible_at FROM delivery_queue WHERE delivery_id = $1 FOR UPDATE) AS old
WHERE q.delivery_id = old.delivery_id AND (q.token IS NULL OR q.visible_at <= $4)
RETURNING nullif(old.visible_at, 'infinity') AS due_at
"""
LOCK_STATUS = "SELECT status, attempts_made FROM deliveries WHERE id = $1 FOR NO KEY UPDATE"
UNQUEUE_ONE = """
DELETE FROM delivery_queue WHERE delivery_id = $1 AND (token IS NULL OR token = $2)
RETURNING endpoint_id, ordering_key
"""
GIVE_BACK_ONE = """
UPDATE delivery_queue SET token = NULL, visible_at = coalesce($3::timestamptz, 'infinity')
WHERE delivery_id = $1 AND token = $2
"""
IS_QUEUED = "SELECT EXISTS (SELECT 1 FROM delivery_queue WHERE delivery_id = $1)"
REMOVE_LETTER = "DELETE FROM dead_letters WHERE delivery_id = $1"
WRITE_OUTCOME = Statement("""
UPDATE deliveries
SET status = $outcome, attempts_made = $number, last_status = $status, last_error_code = $error_code,
    completed_at = CASE WHEN $outcome = 'succeeded' THEN $now ELSE completed_at END
WHERE id = $delivery_id
""")
CANCEL_WAITING_ONE = """
DELETE FROM delivery_queue WHERE delivery_id = $1 AND (token IS NULL OR visible_at <= $2)
RETURNING endpoint_id, ordering_key
"""
SET_CANCELED = "UPDATE deliveries SET status = 'canceled', completed_at = $2 WHERE id = $1"
REDACT_ATTEMPT = """
UPDATE attempts a
SET response = NULL, response_headers = NULL, request_headers = NULL, redacted_at = coalesce(a.redacted_at, $5)
FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id
WHERE a.delivery_id = $1 AND a.number = $2 AND d.id = a.delivery_id
    AND e.program_id = $3 AND ($4::uuid IS NULL OR e.partner_id = $4)
RETURNING a.number
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """A pending delivery that is kept from the dispatcher; `due_at` is None for one that waits for its turn."""

    token: int
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resendable:
    """A delivery to be sent manually; `body` is None once the content is deleted."""

    endpoint_id: uuid.UUID
    message_id: uuid.UUID
    format: str
    status: DeliveryStatus
    sequence: int | None
    body: bytes | None
    traceparent: str | None


_RESENDABLE: Final = Rows(Resendable)


async def endpoint_of(connection: Connection, owner: Owner, delivery_id: uuid.UUID) -> uuid.UUID | None:
    """Return the live endpoint of an owner's delivery."""
    found: uuid.UUID | None = await connection.fetchval(
        FIND_ENDPOINT_OF, delivery_id, owner.program_id, owner.partner_id
    )
    return found


async def lock(connection: Connection, owner: Owner, delivery_id: uuid.UUID) -> Resendable | None:
    """Return a delivery of a live endpoint, locked until the transaction ends."""
    row = await connection.fetchrow(LOCK_WITH_BODY, delivery_id, owner.program_id, owner.partner_id)
    return None if row is None else _RESENDABLE(row)


async def lease(
    connection: Connection, delivery_id: uuid.UUID, token: int, until: datetime, now: datetime
) -> Lease | None:
    """Keep the dispatcher from a pending delivery; None if it is being sent right now."""
    row = await connection.fetchrow(LEASE_ONE, delivery_id, token, until, now)
    return None if row is None else Lease(token, row["due_at"])


async def record(
    connection: Connection,
    delivery_id: uuid.UUID,
    trigger: Trigger,
    answer: Answer,
    held: Lease | None,
    now: datetime,
) -> int:
    """Write an attempt that was made outside the schedule, and return its number.

    A success completes the delivery, whatever its status was; a failure leaves everything as it was.
    """
    row = await connection.fetchrow(LOCK_STATUS, delivery_id)
    status, made = ("canceled", 0) if row is None else (row["status"], row["attempts_made"])
    token, due_at = (0, None) if held is None else (held.token, held.due_at)
    number: int = made + 1
    if answer.has_succeeded:
        await _call_up(connection, await connection.fetchrow(UNQUEUE_ONE, delivery_id, token), now)
        if not await connection.fetchval(IS_QUEUED, delivery_id):
            await connection.execute(REMOVE_LETTER, delivery_id)
            status = "succeeded"
    elif held is not None:
        await connection.execute(GIVE_BACK_ONE, delivery_id, token, due_at)
        await closing.reopen(connection, delivery_id)
    outcome = {"delivery_id": delivery_id, "outcome": status, "number": number, "now": now}
    await connection.execute(*WRITE_OUTCOME(**outcome, status=answer.status, error_code=answer.error_code))
    next_attempt_at = None if answer.has_succeeded else due_at
    await insert_attempt(connection, delivery_id, number, trigger, answer, next_attempt_at)
    return number


async def cancel(connection: Connection, delivery_id: uuid.UUID, now: datetime) -> bool:
    """End a pending delivery unsent; False if it is being sent right now."""
    removed = await connection.fetchrow(CANCEL_WAITING_ONE, delivery_id, now)
    if removed is None:
        return False
    await _call_up(connection, removed, now)
    await connection.execute(SET_CANCELED, delivery_id, now)
    return True


async def redact_attempt(
    connection: Connection, owner: Owner, delivery_id: uuid.UUID, number: int, now: datetime
) -> bool:
    """Redact the response of an attempt; False if there is none."""
    found = await connection.fetchval(REDACT_ATTEMPT, delivery_id, number, owner.program_id, owner.partner_id, now)
    return found is not None


async def _call_up(connection: Connection, removed: Any, now: datetime) -> None:
    """Make the next delivery of the line due when the one it waited for has left the queue."""
    if removed is not None and removed["ordering_key"] is not None:
        await queue.release_heads(connection, [(removed["endpoint_id"], removed["ordering_key"])], now)
