"""Messages that name a customer: found by their events or, for a program's own, one after the other; and replaced."""

import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.database.pool import Connection
from shared.erasing import ERASED, CustomerJob

FIND_INBOX = """
SELECT i.event_id FROM unnest($3::text[]) AS w (event_id), LATERAL (
    SELECT r.event_id FROM inbox r WHERE r.program_id = $1 AND r.source = $2 AND r.event_id = w.event_id OFFSET 0) i
"""
LOCK_MESSAGES = """
SELECT m.id, m.format, m.event_type, m.body, m.content FROM messages m
WHERE m.id = ANY ($1::uuid[]) AND m.program_id = $2 ORDER BY m.id, m.format FOR UPDATE
"""
# The next messages that a program has published itself, including those of its coupons, along its messages.
FIND_CUSTOM = """
SELECT s.id, s.format, s.created_at, s.is_own FROM (
    SELECT m.id, m.format, m.created_at, m.event_type LIKE 'custom.%' OR m.event_type LIKE 'coupon.%' AS is_own
    FROM messages m
    WHERE m.program_id = $1 AND m.created_at >= $2 AND (m.created_at, m.id, m.format) > ($2, $3, $4)
    ORDER BY m.created_at, m.id, m.format LIMIT $5) s
ORDER BY s.created_at, s.id, s.format
"""
ERASE_MESSAGES = """
UPDATE messages m SET body = n.body, content = n.content, erased_by = $5
FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[]) AS n (id, format, body, content)
WHERE m.id = n.id AND m.format = n.format
"""
MARK_MESSAGES = "UPDATE messages SET erased_by = $1 WHERE id = ANY ($2::uuid[]) AND program_id = $3"
# Deliveries whose responses may still be to the body before the erasure.
LIST_LEASED = """
SELECT q.delivery_id, q.token
FROM messages m
JOIN deliveries d ON d.message_id = m.id AND d.format = m.format
JOIN delivery_queue q ON q.delivery_id = d.id
WHERE m.erased_by = $1 AND q.token IS NOT NULL AND q.visible_at > $2
"""
LIST_ERASED = """
SELECT DISTINCT m.id FROM messages m WHERE m.erased_by = $1 AND m.id > $2 ORDER BY m.id LIMIT $3
"""
# A response may repeat what was sent, in its headers too.
ERASE_RESPONSES = """
UPDATE attempts a SET response = CASE WHEN a.response <> '' THEN $2 ELSE a.response END, response_headers = NULL
FROM deliveries d
WHERE d.message_id = ANY ($1::uuid[]) AND a.delivery_id = d.id
  AND (a.response <> '' OR a.response_headers IS NOT NULL)
"""
SHOW_ATTEMPTS = """
SELECT to_jsonb(a) || jsonb_build_object('endpoint_id', d.endpoint_id, 'message_id', d.message_id) AS shown
FROM deliveries d JOIN attempts a ON a.delivery_id = d.id
WHERE d.message_id = ANY ($1::uuid[]) ORDER BY d.id, a.number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A message in one of its stored forms; `body` and `content` are None once they are deleted."""

    id: uuid.UUID
    format: str
    event_type: str
    body: bytes | None
    content: bytes | None


async def find_known(connection: Connection, program_id: uuid.UUID, source: str, event_ids: Sequence[str]) -> set[str]:
    """Return which events of a source were taken in."""
    return {row["event_id"] for row in await connection.fetch(FIND_INBOX, program_id, source, event_ids)}


async def lock_messages(connection: Connection, program_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> list[Kept]:
    """Return messages in all their forms, locked."""
    return [Kept(**row) for row in await connection.fetch(LOCK_MESSAGES, ids, program_id)]


async def find_custom(
    connection: Connection, program_id: uuid.UUID, after: tuple[datetime, uuid.UUID, str], limit: int
) -> list[tuple[datetime, uuid.UUID, str, bool]]:
    """Return the next messages of a program by their positions, and whether it has published them itself."""
    rows = await connection.fetch(FIND_CUSTOM, program_id, *after, limit)
    return [(row["created_at"], row["id"], row["format"], row["is_own"]) for row in rows]


async def erase_messages(connection: Connection, job: CustomerJob, erased: Sequence[Kept]) -> None:
    """Store other bodies under the same ids."""
    await connection.execute(
        ERASE_MESSAGES,
        [each.id for each in erased],
        [each.format for each in erased],
        [each.body for each in erased],
        [each.content for each in erased],
        job.id,
    )


async def mark_messages(connection: Connection, job: CustomerJob, ids: Collection[uuid.UUID]) -> None:
    """Store none of the responses to these messages from now on, whatever the messages themselves still contain."""
    await connection.execute(MARK_MESSAGES, job.id, sorted(ids), job.program_id)


async def list_leased(connection: Connection, job: CustomerJob, now: datetime) -> list[tuple[str, int]]:
    """Return the deliveries of erased messages that a process holds, each with its lease."""
    return [(str(row["delivery_id"]), row["token"]) for row in await connection.fetch(LIST_LEASED, job.id, now)]


async def list_erased(connection: Connection, job: CustomerJob, after: uuid.UUID, limit: int) -> list[uuid.UUID]:
    """Return the next messages that a job has erased."""
    return [row["id"] for row in await connection.fetch(LIST_ERASED, job.id, after, limit)]


async def erase_responses(connection: Connection, message_ids: Collection[uuid.UUID]) -> None:
    """Delete the responses to messages, which may be deleted themselves."""
    await connection.execute(ERASE_RESPONSES, sorted(message_ids), ERASED)


async def show_attempts(connection: Connection, message_ids: Sequence[uuid.UUID]) -> list[Any]:
    """Return the attempts to send messages, as stored."""
    return [json.loads(row["shown"]) for row in await connection.fetch(SHOW_ATTEMPTS, message_ids)]
