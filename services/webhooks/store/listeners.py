"""Listeners: endpoints that fetch their messages themselves, by lease, and report the result of each."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.webhooks.domain.deliveries import Answer
from shared.database.pool import Connection, affected
from shared.database.rows import Rows, Statement
from shared.erasing import ERASED

# A response is built in one piece, while all others wait, and stays in memory until it is read.
BYTES_AT_ONCE: Final = 512 * 1024
_FORGOTTEN_AT_ONCE: Final = 1_000

PROLONG = "UPDATE endpoints SET listens_until = $2 WHERE id = $1"
HAVE_DUE = """
SELECT l.id FROM unnest($1::uuid[]) AS l (id)
WHERE EXISTS (SELECT 1 FROM delivery_queue q WHERE q.endpoint_id = l.id AND q.visible_at <= $2)
"""
# A delivery with a token was handed out before, and its lease has expired. As many are taken as their bodies fit into
# one response; at least one. No body is read to know its size.
TAKE = Statement("""
WITH chosen AS (
    SELECT delivery_id, message_id, format, visible_at, token IS NOT NULL AS is_repeated FROM delivery_queue
    WHERE endpoint_id = $listener_id AND visible_at <= $now
    ORDER BY visible_at, delivery_id LIMIT $limit FOR UPDATE SKIP LOCKED
), weighed AS (
    SELECT c.delivery_id, c.is_repeated,
           sum(c.bytes) OVER (ORDER BY c.visible_at, c.delivery_id
                              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM (SELECT *, (SELECT octet_length(m.body) FROM messages m
                     WHERE m.id = chosen.message_id AND m.format = chosen.format) AS bytes
          FROM chosen) AS c
), taken AS (
    UPDATE delivery_queue q SET visible_at = $leased_until, token = $token
    FROM weighed c WHERE q.delivery_id = c.delivery_id AND coalesce(c.bytes_before, 0) < $limit_bytes::bigint
    RETURNING q.delivery_id, q.message_id, q.format, q.event_type, q.sequence, c.is_repeated
)
SELECT t.delivery_id, t.message_id, t.format, t.event_type, t.sequence, t.is_repeated, m.body,
       m.traceparent
FROM taken t JOIN messages m ON m.id = t.message_id AND m.format = t.format
WHERE m.body IS NOT NULL
ORDER BY t.delivery_id
""")
# The token fences off deliveries that were handed out again meanwhile; each delivery has one attempt and no retry.
FINISH = Statement("""
WITH result AS (
    SELECT * FROM @r(delivery_id uuid, token bigint, outcome text, started_at timestamptz, duration_ms int,
                     status smallint, error_code text, response text)
), finished AS (
    DELETE FROM delivery_queue q USING result r
    WHERE q.endpoint_id = $listener_id AND q.delivery_id = r.delivery_id AND q.token = r.token
    RETURNING q.delivery_id
), delivery AS (
    UPDATE deliveries d
    SET status = r.outcome, attempts_made = d.attempts_made + 1, last_status = r.status,
        last_error_code = r.error_code, completed_at = $now
    FROM finished f JOIN result r ON r.delivery_id = f.delivery_id
    WHERE d.id = f.delivery_id
    RETURNING d.id, d.message_id, d.format, d.attempts_made, r.started_at, r.duration_ms, r.status, r.error_code,
              r.response
)
INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, status, error_code, response)
SELECT d.id, d.attempts_made, 'listen', d.started_at, d.duration_ms, d.status, d.error_code,
       CASE WHEN m.erased_by IS NULL OR d.response = '' THEN d.response ELSE $erased END
FROM delivery d LEFT JOIN messages m ON m.id = d.message_id AND m.format = d.format
""")
LIST_STALE = (
    "SELECT id FROM endpoints WHERE listens_until <= $1 AND archived_at IS NULL ORDER BY listens_until LIMIT 100"
)
# Checked again under the lock: a listener that is reopened at this moment stays.
LOCK_STALE = """
SELECT id FROM endpoints WHERE id = $2 AND listens_until <= $1 AND archived_at IS NULL FOR NO KEY UPDATE SKIP LOCKED
"""
FIND_NAMED = """
SELECT id FROM endpoints WHERE owner_id = $1 AND uid = $2 AND archived_at IS NULL AND listens_until IS NOT NULL
"""
COUNT_WAITING = "SELECT count(*) FROM (SELECT 1 FROM delivery_queue WHERE endpoint_id = $1 LIMIT $2) AS waiting"
# Including deliveries that are handed out: a result that arrives later finds nothing.
FORGET = """
WITH gone AS (
    DELETE FROM delivery_queue WHERE delivery_id = ANY (ARRAY(
        SELECT delivery_id FROM delivery_queue WHERE endpoint_id = $1 ORDER BY visible_at LIMIT $3))
    RETURNING delivery_id)
UPDATE deliveries d SET status = 'canceled', completed_at = $2 FROM gone g WHERE d.id = g.delivery_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A delivery that was handed to a listener; it is due again unless a result arrives before the lease ends."""

    delivery_id: uuid.UUID
    message_id: uuid.UUID
    format: str
    event_type: str
    sequence: int | None
    body: bytes
    is_repeated: bool
    traceparent: str | None = None


_TAKEN: Final = Rows(Taken)


async def prolong(connection: Connection, listener_id: uuid.UUID, until: datetime) -> None:
    """Extend the life of a listener."""
    await connection.execute(PROLONG, listener_id, until)


async def have_due(connection: Connection, listener_ids: Collection[uuid.UUID], now: datetime) -> list[uuid.UUID]:
    """Return the listeners that have due deliveries."""
    return [row["id"] for row in await connection.fetch(HAVE_DUE, list(listener_ids), now)]


async def take(
    connection: Connection, listener_id: uuid.UUID, now: datetime, leased_until: datetime, token: int, limit: int
) -> list[Taken]:
    """Hand out due deliveries that fit into one response, the longest waiting first."""
    lease = {"now": now, "leased_until": leased_until, "token": token}
    rows = await connection.fetch(*TAKE(listener_id=listener_id, **lease, limit=limit, limit_bytes=BYTES_AT_ONCE))
    return [_TAKEN(row) for row in rows]


async def finish(
    connection: Connection,
    listener_id: uuid.UUID,
    results: Sequence[tuple[uuid.UUID, int, Answer]],
    now: datetime,
) -> None:
    """Write the results of deliveries that were handed out: id, token, answer."""
    answers = [answer for _, _, answer in results]
    columns = {
        "delivery_id": [delivery_id for delivery_id, _, _ in results],
        "token": [token for _, token, _ in results],
        "outcome": ["succeeded" if answer.has_succeeded else "failed" for answer in answers],
        "started_at": [answer.started_at for answer in answers],
        "duration_ms": [answer.duration_ms for answer in answers],
        "status": [answer.status for answer in answers],
        "error_code": [answer.error_code for answer in answers],
        "response": [answer.response for answer in answers],
    }
    await connection.execute(*FINISH(listener_id=listener_id, r=columns, now=now, erased=ERASED))


async def find_named(connection: Connection, owner_id: uuid.UUID, uid: str) -> uuid.UUID | None:
    """Return the live listener with this name."""
    found: uuid.UUID | None = await connection.fetchval(FIND_NAMED, owner_id, uid)
    return found


async def count_waiting(connection: Connection, listener_id: uuid.UUID, limit: int) -> int:
    """Return how many deliveries wait for a listener, counting no further than `limit`."""
    count: int = await connection.fetchval(COUNT_WAITING, listener_id, limit)
    return count


async def forget(connection: Connection, listener_id: uuid.UUID, now: datetime) -> None:
    """Cancel all that waits for a listener, including deliveries handed out, in statements of bounded size."""
    while affected(await connection.execute(FORGET, listener_id, now, _FORGOTTEN_AT_ONCE)) == _FORGOTTEN_AT_ONCE:
        pass


async def list_stale(connection: Connection, now: datetime) -> list[uuid.UUID]:
    """Return the first hundred listeners that were not polled in time."""
    return [row["id"] for row in await connection.fetch(LIST_STALE, now)]


async def lock_stale(connection: Connection, listener_id: uuid.UUID, now: datetime) -> bool:
    """Return whether a listener is still abandoned, and lock it until the transaction ends."""
    return await connection.fetchval(LOCK_STALE, now, listener_id) is not None
