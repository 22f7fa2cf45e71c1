"""Deliveries with their attempts."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from services.webhooks.domain.deliveries import Answer, Trigger
from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.shown_deliveries import Delivery, DeliveryDetail, RecordedAttempt
from services.webhooks.store.intake import NewMessage
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.erasing import ERASED

MOST_ATTEMPTS: Final = 250

INSERT_TEST = Statement("""
WITH message AS (
    INSERT INTO messages (id, format, program_id, partner_id, event_type, occurred_at, body, content, created_at,
                          lists_version)
    VALUES ($id, $format, $program_id, $partner_id, $event_type, $occurred_at, $body, $content, $occurred_at, 1)
)
INSERT INTO deliveries (id, endpoint_id, message_id, format, event_type, status, attempts_made, last_status,
                        last_error_code, created_at, completed_at)
VALUES ($delivery_id, $endpoint_id, $id, $format, $event_type, $outcome, 1, $status, $error_code, $occurred_at, $now)
""")
# A response to a message that a customer was erased from may contain that customer.
INSERT_ATTEMPT = Statement("""
INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms, ttfb_ms,
                      remote_ip, request_headers, status, error_code, response_headers, response, next_attempt_at)
SELECT $delivery_id, $number, $trigger, $started_at, $duration_ms, $dns_ms, $connect_ms, $tls_ms, $ttfb_ms,
       $remote_ip, $request_headers, $status, $error_code,
       CASE WHEN m.erased_by IS NULL THEN $response_headers::jsonb END,
       CASE WHEN m.erased_by IS NULL OR $response = '' THEN $response ELSE $erased::text END, $next_attempt_at
FROM deliveries d LEFT JOIN messages m ON m.id = d.message_id AND m.format = d.format
WHERE d.id = $delivery_id
""")
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
# The latest ones, in case there were very many manual attempts.
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
    outcome = "succeeded" if answer.has_succeeded else "failed"
    which = {"delivery_id": delivery_id, "endpoint_id": endpoint_id, "outcome": outcome, "now": now}
    came_of = {"status": answer.status, "error_code": answer.error_code}
    await connection.execute(*INSERT_TEST(**which, **came_of, **_TEST.of(message)))
    await insert_attempt(connection, delivery_id, 1, "test", answer)


async def insert_attempt(
    connection: Connection,
    delivery_id: uuid.UUID,
    number: int,
    trigger: Trigger,
    answer: Answer,
    next_attempt_at: datetime | None = None,
) -> None:
    """Write one attempt."""
    which = {"delivery_id": delivery_id, "number": number, "trigger": trigger, "next_attempt_at": next_attempt_at}
    await connection.execute(*INSERT_ATTEMPT(**which, **_ATTEMPT.of(answer), erased=ERASED))


async def find(
    connection: Connection, owner: Owner, delivery_id: uuid.UUID, now: datetime, number: int | None = None
) -> DeliveryDetail | None:
    """Return one delivery with all its details: its latest attempts, or the one with a number."""
    row = await connection.fetchrow(FIND_DELIVERY, delivery_id, owner.program_id, owner.partner_id, now)
    if row is None:
        return None
    attempts = await connection.fetch(LIST_ATTEMPTS, delivery_id, number, MOST_ATTEMPTS)
    recorded = tuple(to_attempt(each, delivery_id, row["message_id"]) for each in reversed(attempts))
    return DeliveryDetail(to_delivery(row), row["body"], recorded)


def to_attempt(row: Any, delivery_id: uuid.UUID, message_id: uuid.UUID) -> RecordedAttempt:
    """Return an attempt from the columns that all lists of attempts share."""
    return _RECORDED(row, delivery_id=delivery_id, message_id=message_id, answer=_ANSWER(row))


def to_json(headers: Mapping[str, str]) -> str:
    """Return headers as the text of a jsonb value; NUL, which jsonb does not accept, is replaced."""
    return orjson.dumps({name: value.replace("\x00", "\ufffd") for name, value in headers.items()}).decode()


to_delivery: Final = Rows(Delivery)
"""Builds a delivery from the columns that all lists of deliveries share."""
_ANSWER: Final = Rows(Answer, "retry_after", "control", request_headers=orjson.loads, response_headers=orjson.loads)
_RECORDED: Final = Rows(RecordedAttempt, "delivery_id", "message_id", "answer")
_TEST: Final = Values(
    INSERT_TEST.names, NewMessage, *("delivery_id", "endpoint_id", "outcome", "status", "error_code", "now")
)
_ATTEMPT: Final = Values(
    INSERT_ATTEMPT.names,
    Answer,
    *("delivery_id", "number", "trigger", "next_attempt_at", "erased"),
    request_headers=to_json,
    response_headers=to_json,
)
