"""Removes old rows a little at a time, through the indexes that lead to the oldest first.

Rows that expire by age alone are removed from the front. Where some must stay, a removal walks: each step looks at a
bounded number of rows, from where the last one ended, and removes what it may. References are checked by single values
along an index, not by NOT EXISTS, so the lookups stay one by one.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shared.database.pool import Connection, affected
from shared.ids import earliest_id

FIND_PROGRAMS = """
WITH RECURSIVE walk AS (
    (SELECT program_id FROM messages WHERE program_id > $1 ORDER BY program_id LIMIT 1)
    UNION ALL
    SELECT (SELECT m.program_id FROM messages m WHERE m.program_id > w.program_id ORDER BY m.program_id LIMIT 1)
    FROM walk w WHERE w.program_id IS NOT NULL
)
SELECT program_id FROM walk WHERE program_id IS NOT NULL LIMIT $2
"""
# A message stays while a delivery of it is pending, however old it is, and one that a program has published has its own
# retention.
PURGE_MESSAGES = """
WITH seen AS MATERIALIZED (
    SELECT ctid AS place, id, format, created_at FROM messages
    WHERE program_id = $1 AND created_at >= $2 AND created_at < $5 AND (created_at, id, format) > ($2, $3, $4)
    ORDER BY created_at, id, format LIMIT $6
), gone AS (
    DELETE FROM messages WHERE ctid = ANY (ARRAY(
        SELECT s.place FROM seen s
        WHERE (SELECT true FROM custom_messages c WHERE c.message_id = s.id) IS NULL
          AND (SELECT true FROM deliveries d CROSS JOIN LATERAL (
                   SELECT FROM delivery_queue q WHERE q.delivery_id = d.id OFFSET 0) q
               WHERE d.message_id = s.id LIMIT 1) IS NULL))
    RETURNING 1
)
SELECT created_at, id, format, (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM gone) AS gone FROM seen
ORDER BY created_at DESC, id DESC, format DESC LIMIT 1
"""
PURGE_CUSTOM = """
WITH seen AS MATERIALIZED (
    SELECT message_id, keep_until FROM custom_messages
    WHERE keep_until <= $3 AND (keep_until, message_id) > ($1, $2)
    ORDER BY keep_until, message_id LIMIT $4
), old AS MATERIALIZED (
    SELECT s.message_id FROM seen s
    WHERE (SELECT true FROM deliveries d CROSS JOIN LATERAL (
               SELECT FROM delivery_queue q WHERE q.delivery_id = d.id OFFSET 0) q
           WHERE d.message_id = s.message_id LIMIT 1) IS NULL
), message AS (
    DELETE FROM messages WHERE id = ANY (ARRAY(SELECT message_id FROM old)) RETURNING 1
), gone AS (
    DELETE FROM custom_messages WHERE message_id = ANY (ARRAY(SELECT message_id FROM old)) RETURNING 1
)
SELECT keep_until, message_id, (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM gone) AS gone,
       (SELECT count(*) FROM message) AS messages
FROM seen ORDER BY keep_until DESC, message_id DESC LIMIT 1
"""
PURGE_ATTEMPTS = """
WITH seen AS MATERIALIZED (
    SELECT ctid AS place, delivery_id, number, started_at FROM attempts
    WHERE (delivery_id, number) > ($1, $2) AND delivery_id < $3
    ORDER BY delivery_id, number LIMIT $5
), gone AS (
    DELETE FROM attempts WHERE ctid = ANY (ARRAY(SELECT place FROM seen WHERE started_at < $4)) RETURNING 1
)
SELECT delivery_id, number, (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM gone) AS gone FROM seen
ORDER BY delivery_id DESC, number DESC LIMIT 1
"""
# Locked, because a replay may be reviving one at this moment.
PURGE_DELIVERIES = """
WITH seen AS MATERIALIZED (
    SELECT id FROM deliveries WHERE id > $1 AND id < $2 ORDER BY id LIMIT $4
), old AS MATERIALIZED (
    SELECT d.id FROM deliveries d
    WHERE d.id = ANY (ARRAY(SELECT id FROM seen)) AND d.status <> 'pending' AND d.completed_at < $3
    ORDER BY d.id FOR UPDATE SKIP LOCKED
), attempt AS (
    DELETE FROM attempts WHERE delivery_id = ANY (ARRAY(SELECT id FROM old)) RETURNING 1
), letter AS (
    DELETE FROM dead_letters WHERE delivery_id = ANY (ARRAY(SELECT id FROM old)) RETURNING 1
), gone AS (
    DELETE FROM deliveries WHERE id = ANY (ARRAY(SELECT id FROM old)) RETURNING 1
)
SELECT id, (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM gone) AS gone,
       (SELECT count(*) FROM attempt) AS attempts, (SELECT count(*) FROM letter) AS letters
FROM seen ORDER BY id DESC LIMIT 1
"""
# An archived endpoint stays for its deliveries and is removed after the last of them, with its keys.
PURGE_ENDPOINTS = """
WITH seen AS MATERIALIZED (
    SELECT id, archived_at FROM endpoints
    WHERE archived_at IS NOT NULL AND archived_at < $3 AND (archived_at, id) > ($1, $2)
    ORDER BY archived_at, id LIMIT $4
), old AS MATERIALIZED (
    SELECT e.id FROM endpoints e
    WHERE e.id = ANY (ARRAY(SELECT id FROM seen))
      AND (SELECT true FROM deliveries d WHERE d.endpoint_id >= e.id AND d.endpoint_id <= e.id
           ORDER BY d.endpoint_id, d.id LIMIT 1) IS NULL
      AND (SELECT true FROM delivery_queue q WHERE q.endpoint_id >= e.id AND q.endpoint_id <= e.id
           ORDER BY q.endpoint_id, q.visible_at LIMIT 1) IS NULL
      AND (SELECT true FROM replays r WHERE r.endpoint_id >= e.id AND r.endpoint_id <= e.id
           ORDER BY r.endpoint_id LIMIT 1) IS NULL
    ORDER BY e.id FOR UPDATE SKIP LOCKED
), key AS (
    DELETE FROM endpoint_keys WHERE endpoint_id = ANY (ARRAY(SELECT id FROM old)) RETURNING 1
), rate AS (
    DELETE FROM endpoint_rates WHERE endpoint_id = ANY (ARRAY(SELECT id FROM old)) RETURNING 1
), gone AS (
    DELETE FROM endpoints WHERE id = ANY (ARRAY(SELECT id FROM old)) RETURNING 1
)
SELECT archived_at, id, (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM gone) AS gone,
       (SELECT count(*) FROM key) AS keys, (SELECT count(*) FROM rate) AS rates
FROM seen ORDER BY archived_at DESC, id DESC LIMIT 1
"""
PURGE_REPLAYS = """
WITH seen AS MATERIALIZED (
    SELECT id, completed_at FROM replays
    WHERE completed_at IS NOT NULL AND completed_at < $3 AND (completed_at, id) > ($1, $2)
    ORDER BY completed_at, id LIMIT $4
), gone AS (
    DELETE FROM replays WHERE id = ANY (ARRAY(
        SELECT s.id FROM seen s
        WHERE (SELECT true FROM deliveries d
               WHERE d.replay_id >= s.id AND d.replay_id <= s.id AND d.replay_id IS NOT NULL
               ORDER BY d.replay_id LIMIT 1) IS NULL))
    RETURNING 1
)
SELECT completed_at, id, (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM gone) AS gone FROM seen
ORDER BY completed_at DESC, id DESC LIMIT 1
"""
PURGE_KEYS = """
DELETE FROM endpoint_keys WHERE id = ANY (ARRAY(
    SELECT id FROM endpoint_keys WHERE expires_at IS NOT NULL AND expires_at < $1
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
"""

FIRST: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a walk: where it ended, how many rows it looked at, and how many it removed by table."""

    position: tuple[Any, ...]
    seen: int
    removed: Mapping[str, int]


async def programs(connection: Connection, after: uuid.UUID, limit: int) -> list[uuid.UUID]:
    """Return the next `limit` programs that have messages."""
    return [row["program_id"] for row in await connection.fetch(FIND_PROGRAMS, after, limit)]


async def purge_messages(
    connection: Connection, program_id: uuid.UUID, after: tuple[datetime, uuid.UUID, str], before: datetime, limit: int
) -> Step:
    """Look at `limit` messages of a program and remove those created before a time."""
    row = await connection.fetchrow(PURGE_MESSAGES, program_id, *after, before, limit)
    return _step(row, ("created_at", "id", "format"), messages="gone")


async def purge_custom(connection: Connection, after: tuple[datetime, uuid.UUID], now: datetime, limit: int) -> Step:
    """Look at `limit` messages that programs have published and remove those that were kept until now."""
    row = await connection.fetchrow(PURGE_CUSTOM, *after, now, limit)
    return _step(row, ("keep_until", "message_id"), custom_messages="gone", messages="messages")


async def purge_attempts(connection: Connection, after: tuple[uuid.UUID, int], before: datetime, limit: int) -> Step:
    """Look at `limit` attempts and remove those started before a time."""
    row = await connection.fetchrow(PURGE_ATTEMPTS, *after, earliest_id(before), before, limit)
    return _step(row, ("delivery_id", "number"), attempts="gone")


async def purge_deliveries(connection: Connection, after: tuple[uuid.UUID], before: datetime, limit: int) -> Step:
    """Look at `limit` deliveries and remove those that ended before a time, with their attempts and dead letters."""
    row = await connection.fetchrow(PURGE_DELIVERIES, *after, earliest_id(before), before, limit)
    return _step(row, ("id",), deliveries="gone", attempts="attempts", dead_letters="letters")


async def purge_endpoints(
    connection: Connection, after: tuple[datetime, uuid.UUID], before: datetime, limit: int
) -> Step:
    """Look at `limit` endpoints archived before a time and remove those without deliveries."""
    row = await connection.fetchrow(PURGE_ENDPOINTS, *after, before, limit)
    return _step(row, ("archived_at", "id"), endpoints="gone", endpoint_keys="keys", endpoint_rates="rates")


async def purge_replays(
    connection: Connection, after: tuple[datetime, uuid.UUID], before: datetime, limit: int
) -> Step:
    """Look at `limit` replays that ended before a time and remove those without deliveries."""
    row = await connection.fetchrow(PURGE_REPLAYS, *after, before, limit)
    return _step(row, ("completed_at", "id"), replays="gone")


async def purge_keys(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` expired signing keys."""
    return affected(await connection.execute(PURGE_KEYS, before, limit))


def _step(row: Any, position: Sequence[str], **removed: str) -> Step:
    """Return the step from a row, without a position if there was nothing to look at; tables are named as columns."""
    if row is None:
        return Step((), 0, {})
    return Step(
        tuple(row[name] for name in position), row["seen"], {table: row[name] for table, name in removed.items()}
    )
