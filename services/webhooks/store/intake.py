"""Takes events in: finds the subscribers, and writes messages with their deliveries in one statement per batch."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from services.webhooks.domain.bodies import NUMBER
from services.webhooks.domain.deliveries import LEASE_SECONDS
from services.webhooks.domain.endpoints import Subscription
from services.webhooks.domain.schedule import LIFETIME
from shared.database import inbox
from shared.database.inbox import Identity, InboxEntry, digests, identities
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, sparse
from shared.starting_over import StartOver

# Known events and subscribers in one round trip. The lookups are those of `shared.database.inbox`.
FIND_EVENTS = """
SELECT i.program_id, i.source, i.event_id, i.body_sha256, NULL::uuid AS endpoint_id, NULL::uuid AS partner_id,
       NULL::text[] AS event_types, NULL::text AS format, NULL::smallint AS max_in_flight, NULL::integer AS version,
       NULL::boolean AS is_disabled, NULL::boolean AS is_open, NULL::text AS ordering
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS q (program_id, source, event_id), LATERAL (
    SELECT r.program_id, r.source, r.event_id, r.body_sha256 FROM inbox r
    WHERE r.program_id = q.program_id AND r.source = q.source AND r.event_id = q.event_id
    OFFSET 0) i
UNION ALL
SELECT program_id, NULL, NULL, NULL, id, partner_id, event_types, format, max_in_flight, version, status = 'disabled',
       status = 'active' AND (resume_at IS NULL OR resume_at <= $5) AND breaker_trips = 0
           AND rate_limit_per_second IS NULL AND ordering = 'none', ordering
FROM endpoints
WHERE owner_id = ANY($4::uuid[]) AND archived_at IS NULL
"""
# Events are recorded with all their rows or, if any of them was recorded meanwhile, not at all; everyone writes the
# inbox before the sequences. Deliveries that this process sends at once are created with its token; the others are due,
# except those of ordered endpoints, which wait to be called up. The numbers of an owner's deliveries are taken under
# the lock of its row, so they rise in the order of the commits. A body that shows its number gets it here, once;
# `domain.bodies.numbered` writes the same. If a message already exists, from before its event was forgotten, its body
# stays and its number is that of the new deliveries too.
INSERT_WORK = Statement("""
WITH recorded AS (
    INSERT INTO inbox (program_id, source, event_id, body_sha256, received_at)
    SELECT i.*, $now FROM @i(program_id uuid, source text, event_id text, body_sha256 bytea)
    ORDER BY 1, 2, 3
    RETURNING 1
), bumped AS (
    INSERT INTO sequences (owner_id, last)
    SELECT owner_id, count FROM @o(owner_id uuid, count bigint)
    WHERE (SELECT count(*) FROM recorded) >= 0
    ORDER BY owner_id
    ON CONFLICT (owner_id) DO UPDATE SET last = sequences.last + excluded.last
    RETURNING owner_id, last
), message AS (
    INSERT INTO messages (id, format, program_id, partner_id, event_type, occurred_at, body, content, created_at,
                          traceparent, sequence, lists_version, code_key)
    SELECT m.id, m.format, m.program_id, m.partner_id, m.event_type, m.occurred_at,
           CASE WHEN b.last IS NULL THEN m.head
                ELSE m.head || convert_to(CASE WHEN m.format LIKE 'cloudevents%'
                                               THEN '"' || lpad((b.last - m.behind)::text, 19, '0') || '"'
                                               ELSE (b.last - m.behind)::text END, 'UTF8') || m.tail END,
           m.content, $now, m.traceparent, b.last - m.behind, 1, m.code_key
    FROM @m(id uuid, format text, program_id uuid, partner_id uuid, event_type text, occurred_at timestamptz,
            head bytea, content bytea, traceparent text, tail bytea, owner_id uuid, behind int, code_key uuid)
    LEFT JOIN bumped b ON b.owner_id = m.owner_id
    ON CONFLICT (id, format) DO NOTHING
    RETURNING id, format
), kept AS (
    SELECT old.id, old.format, old.sequence, old.body
    FROM (SELECT * FROM @m(id uuid, format text) WHERE format NOT LIKE 'flat%'
          EXCEPT SELECT id, format FROM message WHERE format NOT LIKE 'flat%') AS there,
         LATERAL (SELECT m.id, m.format, m.sequence, m.body FROM messages m
                  WHERE m.id = there.id AND m.format = there.format AND m.body IS NOT NULL OFFSET 0) AS old
), work AS (
    SELECT w.*, b.last - w.behind AS number,
           CASE WHEN k.id IS NULL THEN b.last - w.behind ELSE k.sequence END AS sequence
    FROM @w(delivery_id uuid, endpoint_id uuid, message_id uuid, format text, event_type text, token bigint,
            owner_id uuid, behind int, ordering_key text, code_key uuid)
    JOIN bumped b ON b.owner_id = w.owner_id
    LEFT JOIN kept k ON k.id = w.message_id AND k.format = w.format
), delivery AS (
    INSERT INTO deliveries (id, endpoint_id, message_id, format, event_type, sequence, created_at, code_key)
    SELECT delivery_id, endpoint_id, message_id, format, event_type, sequence, $now, code_key FROM work
    ON CONFLICT (message_id, endpoint_id) DO NOTHING
    RETURNING id
), queued AS (
    INSERT INTO delivery_queue (delivery_id, endpoint_id, message_id, format, event_type, trigger, step, visible_at,
                                ends_at, token, sequence, ordering_key, position)
    SELECT delivery_id, endpoint_id, message_id, format, event_type, 'automatic', 1,
           CASE WHEN ordering_key IS NOT NULL THEN 'infinity' WHEN token IS NULL THEN $now ELSE $leased_until END,
           $ends_at, token, sequence, ordering_key, CASE WHEN ordering_key IS NOT NULL THEN number END
    FROM work JOIN delivery ON delivery.id = work.delivery_id
)
SELECT owner_id, last, NULL::uuid AS id, NULL::text AS format, NULL::bigint AS sequence, NULL::bytea AS body
FROM bumped
UNION ALL
SELECT NULL, NULL, id, format, sequence, body FROM kept
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message with its frozen body, and the event's data if the body does not contain it.

    With a `tail` the body has two parts, and its number goes between them if it gets one.
    """

    id: uuid.UUID
    format: str
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    event_type: str
    occurred_at: datetime
    body: bytes
    content: bytes | None = None
    traceparent: str | None = None
    tail: bytes = b""
    code_key: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Existing:
    """The stored part of a message: the number, if it got one, and the body with the number in it."""

    sequence: int | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery to write; with a `token` it is leased to this process from the start.

    `place` numbers the messages of this batch for the owner of the endpoint.
    """

    id: uuid.UUID
    endpoint_id: uuid.UUID
    message: NewMessage
    token: int | None
    owner_id: uuid.UUID
    place: int
    ordering_key: str | None


class RecordedMeanwhile(StartOver):
    """Another process recorded an event of the batch after it was looked up; nothing was written."""


_SUBSCRIPTION: Final = Rows(Subscription, event_types=frozenset)


async def find(
    connection: Connection, entries: Sequence[InboxEntry], owner_ids: Iterable[uuid.UUID], now: datetime
) -> tuple[dict[Identity, bytes], list[Subscription]]:
    """Return the digests of known events, and the owners' live endpoints, including disabled ones."""
    rows = await connection.fetch(FIND_EVENTS, *identities(entries), list(owner_ids), now)
    return digests(row for row in rows if row["endpoint_id"] is None), [
        _SUBSCRIPTION(row) for row in rows if row["endpoint_id"] is not None
    ]


async def insert_work(
    connection: Connection,
    entries: Sequence[InboxEntry],
    *,
    messages: Sequence[NewMessage],
    numbers: Sequence[tuple[uuid.UUID, int] | None],
    deliveries: Sequence[NewDelivery],
    counts: Mapping[uuid.UUID, int],
    now: datetime,
) -> tuple[dict[uuid.UUID, int], dict[tuple[uuid.UUID, str], Existing]]:
    """Record events with messages, deliveries and queue rows; an existing message stays as it is.

    `counts` is how many messages each owner gets; `numbers` has, for each message that shows its number, its owner and
    how many come after it. Returns the last number of each owner, and the messages that existed. Raises
    `RecordedMeanwhile`.
    """
    try:
        rows = await connection.fetch(
            *INSERT_WORK(
                now=now,
                leased_until=now + timedelta(seconds=LEASE_SECONDS),
                ends_at=now + LIFETIME,
                i=inbox.columns(entries),
                o={"owner_id": list(counts), "count": list(counts.values())},
                m=_message_columns(messages, numbers),
                w=_delivery_columns(deliveries, counts),
            )
        )
    except asyncpg.UniqueViolationError as error:
        if error.table_name != "inbox":
            raise
        raise RecordedMeanwhile from None
    return {row["owner_id"]: row["last"] for row in rows if row["id"] is None}, {
        (row["id"], row["format"]): Existing(row["sequence"], row["body"]) for row in rows if row["id"] is not None
    }


def _message_columns(
    messages: Sequence[NewMessage], numbers: Sequence[tuple[uuid.UUID, int] | None]
) -> dict[str, list[Any]]:
    return {
        "id": [m.id for m in messages],
        "format": [m.format for m in messages],
        "program_id": [m.program_id for m in messages],
        "partner_id": [m.partner_id for m in messages],
        "event_type": [m.event_type for m in messages],
        "occurred_at": [m.occurred_at for m in messages],
        "head": [m.body + (m.tail if n is None else NUMBER) for m, n in zip(messages, numbers, strict=True)],
        "content": [m.content for m in messages],
        "traceparent": [m.traceparent for m in messages],
        # Flat bodies show no number, and they are most of the work.
        "tail": [m.tail for m in messages] if any(numbers) else [],
        "owner_id": sparse([None if n is None else n[0] for n in numbers]),
        "behind": sparse([None if n is None else n[1] for n in numbers]),
        "code_key": [m.code_key for m in messages],
    }


def _delivery_columns(deliveries: Sequence[NewDelivery], counts: Mapping[uuid.UUID, int]) -> dict[str, list[Any]]:
    return {
        "delivery_id": [d.id for d in deliveries],
        "endpoint_id": [d.endpoint_id for d in deliveries],
        "message_id": [d.message.id for d in deliveries],
        "format": [d.message.format for d in deliveries],
        "event_type": [d.message.event_type for d in deliveries],
        "token": [d.token for d in deliveries],
        "owner_id": [d.owner_id for d in deliveries],
        "behind": [counts[d.owner_id] - 1 - d.place for d in deliveries],
        "ordering_key": [d.ordering_key for d in deliveries],
        "code_key": [d.message.code_key for d in deliveries],
    }
