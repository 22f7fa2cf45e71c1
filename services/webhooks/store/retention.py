"""Removes what is old, a little at a time, through the indexes that lead to the oldest first."""

import uuid
from datetime import datetime

from shared.database.pool import Connection

# What waits to be sent keeps its message, however old that is.
PURGE_MESSAGES = """
WITH old AS (
    SELECT m.id, m.format
    FROM (SELECT DISTINCT program_id FROM endpoints) AS p
    CROSS JOIN LATERAL (
        SELECT id, format FROM messages
        WHERE program_id = p.program_id AND created_at < $1
            AND NOT EXISTS (SELECT 1 FROM deliveries d JOIN delivery_queue q ON q.delivery_id = d.id
                            WHERE d.message_id = messages.id)
        ORDER BY created_at LIMIT $2) AS m
    LIMIT $2)
DELETE FROM messages m USING old WHERE m.id = old.id AND m.format = old.format RETURNING 1
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


async def purge_messages(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` messages made before a time."""
    return len(await connection.fetch(PURGE_MESSAGES, before, limit))


async def purge_attempts(connection: Connection, bound: uuid.UUID, before: datetime, limit: int) -> int:
    """Remove up to `limit` attempts begun before a time; `bound` is the earliest id of that time."""
    return len(await connection.fetch(PURGE_ATTEMPTS, bound, before, limit))


async def purge_deliveries(connection: Connection, bound: uuid.UUID, before: datetime, limit: int) -> int:
    """Remove up to `limit` deliveries that ended before a time, with their attempts and dead letters."""
    return len(await connection.fetch(PURGE_DELIVERIES, bound, before, limit))
