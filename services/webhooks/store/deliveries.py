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
    RecordedAttempt,
)
from services.webhooks.domain.endpoints import Owner
from services.webhooks.store.intake import NewMessage
from shared.database.pool import Connection

MOST_ATTEMPTS: Final = 250

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
# The latest, should somebody have tried by hand very often.
LIST_ATTEMPTS = """
SELECT number, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms, ttfb_ms, remote_ip, request_headers,
       status, error_code, response_headers, response, next_attempt_at, redacted_at
FROM attempts WHERE delivery_id = $1 AND number <= coalesce($2, 2147483647) AND number >= coalesce($2, 0)
ORDER BY number DESC LIMIT $3
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


async def find(
    connection: Connection, owner: Owner, delivery_id: uuid.UUID, now: datetime, number: int | None = None
) -> DeliveryDetail | None:
    """Return one delivery with everything that is known of it: its latest attempts, or the one of a number."""
    row = await connection.fetchrow(FIND_DELIVERY, delivery_id, owner.program_id, owner.partner_id, now)
    if row is None:
        return None
    attempts = await connection.fetch(LIST_ATTEMPTS, delivery_id, number, MOST_ATTEMPTS)
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
        for attempt in reversed(attempts)
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
