"""Takes events in: who subscribes, and messages with their deliveries in one statement per batch."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.webhooks.domain.endpoints import Subscription
from shared.database.pool import Connection

FIND_SUBSCRIPTIONS = """
SELECT id, program_id, partner_id, event_types, format, max_in_flight, version, status = 'disabled' AS is_disabled,
       status = 'active' AND (resume_at IS NULL OR resume_at <= $2) AS is_open
FROM endpoints
WHERE owner_id = ANY($1::uuid[]) AND archived_at IS NULL
"""
# The deliveries that this process sends at once are born with its token; the others lie due.
INSERT_WORK = """
WITH message AS (
    INSERT INTO messages (id, format, program_id, partner_id, event_type, occurred_at, body, content, created_at)
    SELECT m.*, $14 FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[],
                                $7::bytea[], $17::bytea[]) AS m
    ON CONFLICT (id, format) DO NOTHING
), work AS (
    SELECT * FROM unnest($8::uuid[], $9::uuid[], $10::uuid[], $11::text[], $12::text[], $13::bigint[])
        AS w (delivery_id, endpoint_id, message_id, format, event_type, token)
), delivery AS (
    INSERT INTO deliveries (id, endpoint_id, message_id, format, event_type, created_at)
    SELECT delivery_id, endpoint_id, message_id, format, event_type, $14 FROM work
    ON CONFLICT (message_id, endpoint_id) DO NOTHING
    RETURNING id
)
INSERT INTO delivery_queue (delivery_id, endpoint_id, message_id, format, event_type, trigger, step, visible_at,
                            ends_at, token)
SELECT delivery_id, endpoint_id, message_id, format, event_type, 'automatic', 1,
       CASE WHEN token IS NULL THEN $14 ELSE $15 END, $16, token
FROM work JOIN delivery ON delivery.id = work.delivery_id
"""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message with its frozen body, and the event's data where the body does not hold it."""

    id: uuid.UUID
    format: str
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    event_type: str
    occurred_at: datetime
    body: bytes
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery to write; with a `token` it is leased to this process from the start."""

    id: uuid.UUID
    endpoint_id: uuid.UUID
    message: NewMessage
    token: int | None


async def subscriptions(connection: Connection, owner_ids: Iterable[uuid.UUID], now: datetime) -> list[Subscription]:
    """Return the live endpoints of programs and partners, disabled ones too."""
    rows = await connection.fetch(FIND_SUBSCRIPTIONS, list(owner_ids), now)
    return [
        Subscription(
            row["id"],
            row["program_id"],
            row["partner_id"],
            frozenset(row["event_types"]),
            row["format"],
            row["max_in_flight"],
            row["is_open"],
            row["is_disabled"],
            row["version"],
        )
        for row in rows
    ]


async def insert_work(
    connection: Connection,
    messages: Sequence[NewMessage],
    deliveries: Sequence[NewDelivery],
    now: datetime,
    leased_until: datetime,
    ends_at: datetime,
) -> None:
    """Write messages, deliveries and their queue rows; a message that is there already stays as it is."""
    await connection.execute(
        INSERT_WORK,
        [m.id for m in messages],
        [m.format for m in messages],
        [m.program_id for m in messages],
        [m.partner_id for m in messages],
        [m.event_type for m in messages],
        [m.occurred_at for m in messages],
        [m.body for m in messages],
        [d.id for d in deliveries],
        [d.endpoint_id for d in deliveries],
        [d.message.id for d in deliveries],
        [d.message.format for d in deliveries],
        [d.message.event_type for d in deliveries],
        [d.token for d in deliveries],
        now,
        leased_until,
        ends_at,
        [m.content for m in messages],
    )
