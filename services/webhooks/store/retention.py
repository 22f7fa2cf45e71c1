"""Removes what is old, a little at a time, through the indexes that lead to the oldest first."""

import uuid
from datetime import datetime

from shared.database.pool import Connection

FIND_PROGRAMS = "SELECT DISTINCT program_id FROM endpoints"
# What waits to be sent keeps its message, however old that is, and what a program has published itself has an end of
# its own. What stays is passed over once: the next look begins where this one has ended.
PURGE_MESSAGES = """
WITH old AS (
    SELECT m.id, m.format FROM messages m
    WHERE m.program_id = $1 AND m.created_at >= $2 AND m.created_at < $3
        AND NOT EXISTS (SELECT 1 FROM custom_messages c WHERE c.message_id = m.id)
        AND NOT EXISTS (SELECT 1 FROM deliveries d JOIN delivery_queue q ON q.delivery_id = d.id
                        WHERE d.message_id = m.id)
    ORDER BY m.created_at LIMIT $4)
DELETE FROM messages m USING old WHERE m.id = old.id AND m.format = old.format RETURNING m.created_at
"""
PURGE_CUSTOM = """
WITH old AS (
    SELECT c.message_id FROM custom_messages c
    WHERE c.keep_until <= $1
        AND NOT EXISTS (SELECT 1 FROM deliveries d JOIN delivery_queue q ON q.delivery_id = d.id
                        WHERE d.message_id = c.message_id)
    ORDER BY c.keep_until LIMIT $2
), message AS (
    DELETE FROM messages m USING old WHERE m.id = old.message_id
)
DELETE FROM custom_messages c USING old WHERE c.message_id = old.message_id RETURNING 1
"""
PURGE_ATTEMPTS = """
WITH old AS (
    SELECT delivery_id, number FROM attempts
    WHERE delivery_id < $1 AND started_at < $2
    ORDER BY delivery_id LIMIT $3)
DELETE FROM attempts a USING old WHERE a.delivery_id = old.delivery_id AND a.number = old.number RETURNING 1
"""
PURGE_DELIVERIES = """
WITH old AS (
    SELECT id FROM deliveries
    WHERE id < $1 AND status <> 'pending' AND completed_at < $2
    ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
), attempt AS (
    DELETE FROM attempts a USING old WHERE a.delivery_id = old.id
), letter AS (
    DELETE FROM dead_letters l USING old WHERE l.delivery_id = old.id
)
DELETE FROM deliveries d USING old WHERE d.id = old.id RETURNING 1
"""


async def programs(connection: Connection) -> list[uuid.UUID]:
    """Return the programs that have, or had, endpoints."""
    return [row["program_id"] for row in await connection.fetch(FIND_PROGRAMS)]


async def purge_messages(
    connection: Connection, program_id: uuid.UUID, since: datetime, before: datetime, limit: int
) -> tuple[int, datetime]:
    """Remove up to `limit` messages of a program made from `since` on and before a time.

    Returns how many, and when the youngest of them was made.
    """
    rows = await connection.fetch(PURGE_MESSAGES, program_id, since, before, limit)
    return len(rows), max((row["created_at"] for row in rows), default=since)


async def purge_custom(connection: Connection, now: datetime, limit: int) -> int:
    """Remove up to `limit` messages that programs have published and wanted kept until now."""
    return len(await connection.fetch(PURGE_CUSTOM, now, limit))


async def purge_attempts(connection: Connection, bound: uuid.UUID, before: datetime, limit: int) -> int:
    """Remove up to `limit` attempts begun before a time; `bound` is the earliest id of that time."""
    return len(await connection.fetch(PURGE_ATTEMPTS, bound, before, limit))


async def purge_deliveries(connection: Connection, bound: uuid.UUID, before: datetime, limit: int) -> int:
    """Remove up to `limit` deliveries that ended before a time, with their attempts and dead letters."""
    return len(await connection.fetch(PURGE_DELIVERIES, bound, before, limit))
