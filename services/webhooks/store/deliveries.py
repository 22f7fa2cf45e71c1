"""Deliveries with their attempts."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from services.webhooks.domain.deliveries import (
    Answer,
    Delivery,
    DeliveryDetail,
    DeliveryFilter,
    DeliveryPage,
    RecordedAttempt,
)
from services.webhooks.domain.endpoints import Owner
from services.webhooks.store.intake import NewMessage
from shared.database.filters import like
from shared.database.pool import Connection
from shared.ids import earliest_id

INSERT_TEST = """
WITH message AS (
    INSERT INTO messages (id, format, program_id, partner_id, event_type, occurred_at, body, content, created_at,
                          lists_version)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $17, $6, 1)
), delivery AS (
    INSERT INTO deliveries (id, endpoint_id, message_id, format, event_type, status, attempts_made, last_status,
                            last_error_code, created_at, completed_at)
    VALUES ($8, $9, $1, $2, $5, $10, 1, $11, $12, $6, $13)
)
INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms, ttfb_ms,
                      remote_ip, request_headers, status, error_code, response_headers, response)
VALUES ($8, 1, 'test', $14, $15, $18, $19, $20, $21, $22, $23, $11, $12, $24, $16)
"""
# A page looks at a bounded number of deliveries, so that a rare status costs no more among millions than among a
# hundred; a page can therefore be short, or even empty, without being the last.
SCANNED_PER_PAGE: Final = 2000
SORTED_PER_ENDPOINT: Final = 500
_FIRST_ID: Final = uuid.UUID(int=0)
_LAST_ID: Final = uuid.UUID(int=2**128 - 1)

# Each endpoint's newest by the index: an equal share of what is looked at, but a page at least. What is older than the
# last that was looked at of any endpoint with more is left to the next page; the last row, a mark, says where that
# begins. Bounds that are always there, so that a kept plan goes by them too, and of both columns of the index: with
# the endpoint as a constant that plan may take the order of ids alone and wade through what is everybody else's.
LIST_DELIVERIES = """
WITH chosen AS MATERIALIZED (
    SELECT id, status = 'paused' AND listens_until IS NULL AS is_paused FROM endpoints
    WHERE program_id = $1 AND ($2::uuid IS NULL OR partner_id = $2) AND ($3::uuid IS NULL OR id = $3)
), share AS MATERIALIZED (
    SELECT greatest($8::bigint, $9::bigint / greatest(1, count(*))) AS size FROM chosen
), scanned AS MATERIALIZED (
    SELECT f.id, f.status, f.event_type, f.place, e.is_paused
    FROM chosen e CROSS JOIN LATERAL (
        SELECT id, status, event_type, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, status, event_type FROM deliveries
            WHERE (endpoint_id, id) < (e.id, $4) AND (endpoint_id, id) >= (e.id, $5)
            ORDER BY endpoint_id DESC, id DESC LIMIT (SELECT size FROM share)) AS newest) AS f
), mark AS MATERIALIZED (
    SELECT id FROM scanned WHERE place = (SELECT size FROM share) ORDER BY id DESC LIMIT 1
), page AS (
    SELECT id, is_paused FROM scanned
    WHERE id >= coalesce((SELECT id FROM mark), $5) AND ($6::text IS NULL OR status = $6)
        AND ($7::text IS NULL OR event_type LIKE $7)
    ORDER BY id DESC LIMIT $8
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at,
       CASE WHEN d.status <> 'pending' THEN d.status
            WHEN q.token IS NOT NULL AND q.visible_at > $10 THEN 'in_flight'
            WHEN p.is_paused THEN 'paused'
            ELSE 'pending' END AS status,
       CASE WHEN q.token IS NULL THEN nullif(q.visible_at, 'infinity') END AS next_attempt_at, false AS is_mark
FROM page p
CROSS JOIN LATERAL (SELECT * FROM deliveries WHERE id = p.id OFFSET 0) AS d
LEFT JOIN LATERAL (
    SELECT visible_at, token FROM delivery_queue WHERE delivery_id = p.id OFFSET 0) AS q ON true
UNION ALL
SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true FROM mark
"""
LIST_OF_MESSAGE = """
WITH shown AS (
    SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
           d.sequence, d.replay_id, d.created_at, d.completed_at,
           CASE WHEN d.status <> 'pending' THEN d.status
                WHEN q.token IS NOT NULL AND q.visible_at > $11 THEN 'in_flight'
                WHEN e.status = 'paused' AND e.listens_until IS NULL THEN 'paused'
                ELSE 'pending' END AS status,
           CASE WHEN q.token IS NULL THEN nullif(q.visible_at, 'infinity') END AS next_attempt_at
    FROM deliveries d
    JOIN endpoints e ON e.id = d.endpoint_id
    LEFT JOIN delivery_queue q ON q.delivery_id = d.id
    WHERE d.message_id = $10 AND e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2)
        AND ($3::uuid IS NULL OR e.id = $3) AND ($4::uuid IS NULL OR d.id < $4)
        AND ($6::text IS NULL OR d.event_type LIKE $6)
        AND ($8::uuid IS NULL OR d.id >= $8) AND ($9::uuid IS NULL OR d.id < $9)
)
SELECT id, endpoint_id, message_id, event_type, attempts_made, last_status, last_error_code, sequence, replay_id,
       created_at, completed_at, status, next_attempt_at
FROM shown WHERE $5::text IS NULL OR status = $5
ORDER BY id DESC LIMIT $7
"""
# What waits at endpoints that are paused by their owners, or at all others; what is leased is neither. The queue has no
# index in the order of a list, and must not pay for one: where an endpoint has little in it, all of that is sorted, and
# where it has much, most of its newest deliveries are what is looked for.
LIST_WAITING = """
WITH chosen AS MATERIALIZED (
    SELECT id FROM endpoints
    WHERE program_id = $1 AND ($2::uuid IS NULL OR partner_id = $2) AND ($3::uuid IS NULL OR id = $3)
        AND (status = 'paused' AND listens_until IS NULL) = ($6::text = 'paused')
), nearest AS MATERIALIZED (
    SELECT e.id AS endpoint_id, q.delivery_id, q.event_type, q.visible_at, q.token
    FROM chosen e CROSS JOIN LATERAL (
        SELECT delivery_id, event_type, visible_at, token FROM delivery_queue
        WHERE endpoint_id = e.id ORDER BY visible_at LIMIT $9) AS q
), crowded AS MATERIALIZED (
    SELECT endpoint_id FROM nearest GROUP BY endpoint_id HAVING count(*) = $9
), waiting AS (
    SELECT delivery_id, visible_at, token FROM nearest n
    WHERE NOT EXISTS (SELECT 1 FROM crowded c WHERE c.endpoint_id = n.endpoint_id)
        AND (token IS NULL OR visible_at <= $10) AND delivery_id < $4 AND delivery_id >= $5
        AND ($7::text IS NULL OR event_type LIKE $7)
    UNION ALL
    SELECT f.delivery_id, f.visible_at, f.token
    FROM crowded c CROSS JOIN LATERAL (
        SELECT d.id AS delivery_id, q.visible_at, q.token
        FROM deliveries d CROSS JOIN LATERAL (
            SELECT visible_at, token FROM delivery_queue WHERE delivery_id = d.id OFFSET 0) AS q
        WHERE (d.endpoint_id, d.id) < (c.endpoint_id, $4) AND (d.endpoint_id, d.id) >= (c.endpoint_id, $5)
            AND d.status = 'pending' AND (q.token IS NULL OR q.visible_at <= $10)
            AND ($7::text IS NULL OR d.event_type LIKE $7)
        ORDER BY d.endpoint_id DESC, d.id DESC LIMIT $8) AS f
), page AS (
    SELECT delivery_id, visible_at, token FROM waiting ORDER BY delivery_id DESC LIMIT $8
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, $6::text AS status,
       CASE WHEN p.token IS NULL THEN nullif(p.visible_at, 'infinity') END AS next_attempt_at
FROM page p CROSS JOIN LATERAL (SELECT * FROM deliveries WHERE id = p.delivery_id OFFSET 0) AS d
"""
# By the index of what is leased, which is little, however much waits.
LIST_IN_FLIGHT = """
WITH page AS (
    SELECT q.delivery_id
    FROM endpoints e CROSS JOIN LATERAL (
        SELECT delivery_id, event_type FROM delivery_queue
        WHERE endpoint_id = e.id AND token IS NOT NULL AND visible_at > $9 OFFSET 0) AS q
    WHERE e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2) AND ($3::uuid IS NULL OR e.id = $3)
        AND q.delivery_id < $4 AND q.delivery_id >= $5 AND ($7::text IS NULL OR q.event_type LIKE $7)
    ORDER BY q.delivery_id DESC LIMIT $8
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, $6::text AS status, NULL::timestamptz AS next_attempt_at
FROM page p CROSS JOIN LATERAL (SELECT * FROM deliveries WHERE id = p.delivery_id OFFSET 0) AS d
"""
LIST_DEAD = """
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.status, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, NULL::timestamptz AS next_attempt_at
FROM endpoints e
CROSS JOIN LATERAL (
    SELECT f.delivery_id FROM dead_letters f
    WHERE f.endpoint_id = e.id AND ($4::uuid IS NULL OR f.delivery_id < $4)
        AND ($6::text IS NULL OR f.event_type LIKE $6)
        AND ($8::uuid IS NULL OR f.delivery_id >= $8) AND ($9::uuid IS NULL OR f.delivery_id < $9)
    ORDER BY f.delivery_id DESC LIMIT $7) AS l
JOIN deliveries d ON d.id = l.delivery_id AND ($5::text IS NULL OR d.status = $5)
WHERE e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2) AND ($3::uuid IS NULL OR e.id = $3)
ORDER BY d.id DESC LIMIT $7
"""
FIND_DELIVERY = """
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at,
       CASE WHEN d.status <> 'pending' THEN d.status
            WHEN q.token IS NOT NULL AND q.visible_at > $4 THEN 'in_flight'
            WHEN e.status = 'paused' AND e.listens_until IS NULL THEN 'paused'
            ELSE 'pending' END AS status,
       CASE WHEN q.token IS NULL THEN nullif(q.visible_at, 'infinity') END AS next_attempt_at, m.body
FROM deliveries d
JOIN endpoints e ON e.id = d.endpoint_id
LEFT JOIN messages m ON m.id = d.message_id AND m.format = d.format
LEFT JOIN delivery_queue q ON q.delivery_id = d.id
WHERE d.id = $1 AND e.program_id = $2 AND ($3::uuid IS NULL OR e.partner_id = $3)
"""
LIST_ATTEMPTS = """
SELECT number, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms, ttfb_ms, remote_ip, request_headers,
       status, error_code, response_headers, response, next_attempt_at, redacted_at
FROM attempts WHERE delivery_id = $1 ORDER BY number
"""


async def insert_test(
    connection: Connection,
    delivery_id: uuid.UUID,
    endpoint_id: uuid.UUID,
    message: NewMessage,
    answer: Answer,
    now: datetime,
) -> None:
    """Write a test with its message and its only attempt."""
    await connection.execute(
        INSERT_TEST,
        message.id,
        message.format,
        message.program_id,
        message.partner_id,
        message.event_type,
        message.occurred_at,
        message.body,
        delivery_id,
        endpoint_id,
        "succeeded" if answer.has_succeeded else "failed",
        answer.status,
        answer.error_code,
        now,
        answer.started_at,
        answer.duration_ms,
        answer.response,
        message.content,
        answer.dns_ms,
        answer.connect_ms,
        answer.tls_ms,
        answer.ttfb_ms,
        answer.remote_ip,
        to_json(answer.request_headers),
        to_json(answer.response_headers),
    )


async def list_page(
    connection: Connection,
    owner: Owner,
    chosen: DeliveryFilter,
    before: uuid.UUID | None,
    limit: int,
    now: datetime,
) -> DeliveryPage:
    """Return deliveries of the owner's endpoints, archived ones too, the newest first.

    What is rare among millions is looked for where it is kept apart.
    """
    rows = await _rows(connection, owner, chosen, before, limit + 1, now)
    found = sorted((to_delivery(row) for row in rows if not row.get("is_mark")), key=lambda each: each.id, reverse=True)
    if len(found) > limit:
        return DeliveryPage(found[:limit], found[limit - 1].id)
    return DeliveryPage(found, next((row["id"] for row in rows if row.get("is_mark")), None))


async def _rows(
    connection: Connection,
    owner: Owner,
    chosen: DeliveryFilter,
    before: uuid.UUID | None,
    limit: int,
    now: datetime,
) -> list[Any]:
    whose = (owner.program_id, owner.partner_id, chosen.endpoint_id)
    since = None if chosen.since is None else earliest_id(chosen.since)
    until = None if chosen.until is None else earliest_id(chosen.until)
    pattern = like(chosen.event_type)
    if chosen.message_id is not None or chosen.status == "dead":
        arguments = (*whose, before, chosen.status, pattern, limit, since, until)
        if chosen.message_id is None:
            return await connection.fetch(LIST_DEAD, *arguments)
        return await connection.fetch(LIST_OF_MESSAGE, *arguments, chosen.message_id, now)
    span = (min(before or _LAST_ID, until or _LAST_ID), since or _FIRST_ID)
    wanted = (*whose, *span, chosen.status, pattern, limit)
    if chosen.status == "in_flight":
        return await connection.fetch(LIST_IN_FLIGHT, *wanted, now)
    if chosen.status in ("pending", "paused"):
        return await connection.fetch(LIST_WAITING, *wanted, SORTED_PER_ENDPOINT, now)
    is_whole = chosen.status is None and chosen.event_type is None
    return await connection.fetch(LIST_DELIVERIES, *wanted, 0 if is_whole else SCANNED_PER_PAGE, now)


async def find(connection: Connection, owner: Owner, delivery_id: uuid.UUID, now: datetime) -> DeliveryDetail | None:
    """Return one delivery with everything that is known of it."""
    row = await connection.fetchrow(FIND_DELIVERY, delivery_id, owner.program_id, owner.partner_id, now)
    if row is None:
        return None
    attempts = await connection.fetch(LIST_ATTEMPTS, delivery_id)
    recorded = tuple(
        RecordedAttempt(
            delivery_id,
            row["message_id"],
            attempt["number"],
            attempt["trigger"],
            _answer(attempt),
            attempt["next_attempt_at"],
            attempt["redacted_at"],
        )
        for attempt in attempts
    )
    return DeliveryDetail(to_delivery(row), row["body"], recorded)


def to_delivery(row: Any) -> Delivery:
    """Return a delivery from the columns that all lists of them have."""
    return Delivery(
        row["id"],
        row["endpoint_id"],
        row["message_id"],
        row["event_type"],
        row["status"],
        row["attempts_made"],
        row["last_status"],
        row["last_error_code"],
        row["next_attempt_at"],
        row["created_at"],
        row["completed_at"],
        row["sequence"],
        row["replay_id"],
    )


def to_json(headers: Mapping[str, str] | None) -> str | None:
    """Return headers as the text of a jsonb value; NUL, which that does not take, becomes the replacement mark."""
    if headers is None:
        return None
    return orjson.dumps({name: value.replace("\x00", "\ufffd") for name, value in headers.items()}).decode()


def _answer(row: Any) -> Answer:
    request_headers, response_headers = row["request_headers"], row["response_headers"]
    return Answer(
        started_at=row["started_at"],
        duration_ms=row["duration_ms"],
        status=row["status"],
        error_code=row["error_code"],
        response=row["response"],
        dns_ms=row["dns_ms"],
        connect_ms=row["connect_ms"],
        tls_ms=row["tls_ms"],
        ttfb_ms=row["ttfb_ms"],
        remote_ip=row["remote_ip"],
        request_headers=None if request_headers is None else orjson.loads(request_headers),
        response_headers=None if response_headers is None else orjson.loads(response_headers),
    )
