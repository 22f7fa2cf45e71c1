"""Messages: listed, shown, redacted, and what is needed to send one again."""

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.webhooks.domain.debugging import Sent
from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.messages import ListedMessage, Message, MessageFilter, MessagePage, Published
from shared.database.filters import like_pattern
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import FIRST_ID, LAST_ID

# A page looks at a bounded number of forms, so that a rare type costs no more among millions of messages than among a
# hundred; a page can therefore be short, or even empty, without being the last.
SCANNED_PER_PAGE: Final = 2000
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)

# All forms of a message are created together, so they are adjacent. The last row, a marker, says whether there may be
# more.
LIST_OF_PROGRAM = Statement("""
WITH scanned AS MATERIALIZED (
    SELECT id, partner_id, event_type, occurred_at, created_at, redacted_at FROM messages
    WHERE program_id = $program AND created_at >= $since AND created_at <= $until
        AND (created_at, id) < ($until, $until_id)
    ORDER BY created_at DESC, id DESC LIMIT $scanned
), chosen AS (
    SELECT DISTINCT ON (created_at, id) id, partner_id, event_type, occurred_at, created_at, redacted_at FROM scanned
    WHERE $type::text IS NULL OR event_type LIKE $type
    ORDER BY created_at DESC, id DESC LIMIT $limit
), last AS (
    SELECT id, created_at FROM scanned ORDER BY created_at, id LIMIT 1
)
SELECT id, partner_id, event_type, occurred_at, created_at, redacted_at, false AS is_mark FROM chosen
UNION ALL
SELECT id, NULL, NULL, NULL, created_at, NULL, true FROM last WHERE (SELECT count(*) FROM scanned) = $scanned
""")
# For a partner only messages that it may see in full; the index contains nothing else. If an index could serve the
# condition on the program, a cached plan would prefer the program's index, through the messages of every other partner.
LIST_OF_PARTNER = Statement("""
WITH scanned AS MATERIALIZED (
    SELECT id, partner_id, event_type, occurred_at, created_at, redacted_at FROM messages
    WHERE partner_id = $partner AND (format = 'flat' OR format LIKE '%-partner') AND (program_id = $program) IS TRUE
        AND created_at >= $since AND (created_at, id) < ($until, $until_id)
    ORDER BY created_at DESC, id DESC LIMIT $scanned
), chosen AS (
    SELECT DISTINCT ON (created_at, id) id, partner_id, event_type, occurred_at, created_at, redacted_at FROM scanned
    WHERE $type::text IS NULL OR event_type LIKE $type
    ORDER BY created_at DESC, id DESC LIMIT $limit
), last AS (
    SELECT id, created_at FROM scanned ORDER BY created_at, id LIMIT 1
)
SELECT id, partner_id, event_type, occurred_at, created_at, redacted_at, false AS is_mark FROM chosen
UNION ALL
SELECT id, NULL, NULL, NULL, created_at, NULL, true FROM last WHERE (SELECT count(*) FROM scanned) = $scanned
""")
FIND_FORMS = """
SELECT m.id, m.format, m.partner_id, m.event_type, m.occurred_at, m.created_at, m.body, m.content, m.redacted_at,
       m.format = 'flat' AND m.lists_version IS NULL AS is_shared, c.event_id,
       c.keep_until AS kept_until
FROM messages m LEFT JOIN custom_messages c ON c.message_id = m.id
WHERE m.id = $1 AND m.program_id = $2 AND ($3::uuid IS NULL OR m.partner_id = $3)
"""
INSERT_CUSTOM = Statement("""
INSERT INTO custom_messages (message_id, event_id, keep_until, body_sha256)
SELECT * FROM @r(message_id uuid, event_id text, keep_until timestamptz, body_sha256 bytea)
""")
FIND_DIGESTS = "SELECT message_id, body_sha256 FROM custom_messages WHERE message_id = ANY ($1::uuid[])"
# OFFSET 0 keeps the lookups one by one. A message has a row for each of its formats, which do not differ here.
FIND_CUSTOM = Statement("""
SELECT m.id, m.partner_id, m.event_type, m.occurred_at, m.created_at, m.redacted_at, c.event_id,
       c.keep_until AS kept_until, r.program_id,
       (SELECT count(*) FROM deliveries d WHERE d.message_id = m.id) AS deliveries
FROM @r(program_id uuid, id uuid)
JOIN custom_messages c ON c.message_id = r.id
CROSS JOIN LATERAL (
    SELECT id, partner_id, event_type, occurred_at, created_at, redacted_at FROM messages
    WHERE id = r.id AND program_id = r.program_id LIMIT 1) m
""")
# The live endpoints that had a message, and those that are named; `delivery_id` is null for endpoints that never had
# it. Listeners fetch their messages themselves.
FIND_RECEIVERS = """
SELECT e.id AS endpoint_id, e.partner_id, e.format, e.event_types, d.id AS delivery_id, d.format AS delivery_format
FROM endpoints e LEFT JOIN deliveries d ON d.endpoint_id = e.id AND d.message_id = $1
WHERE e.program_id = $2 AND ($3::uuid IS NULL OR e.partner_id = $3) AND e.archived_at IS NULL
    AND e.listens_until IS NULL
    AND e.id = ANY(CASE WHEN $4::uuid[] IS NULL
                        THEN ARRAY(SELECT endpoint_id FROM deliveries WHERE message_id = $1) ELSE $4 END)
ORDER BY e.id
"""
FIND_SENT = """
SELECT m.body FROM deliveries d LEFT JOIN messages m ON m.id = d.message_id AND m.format = d.format
WHERE d.message_id = $1 AND d.endpoint_id = $2
"""
LOCK_FORMS = "SELECT format FROM messages WHERE id = $1 AND program_id = $2 FOR UPDATE"
REDACT = """
UPDATE messages SET body = NULL, content = NULL, redacted_at = coalesce(redacted_at, $3)
WHERE id = $1 AND program_id = $2
"""
COUNT_UNDER_WAY = """
SELECT count(*) FROM deliveries d JOIN delivery_queue q ON q.delivery_id = d.id
WHERE d.message_id = $1 AND q.token IS NOT NULL AND q.visible_at > $2
"""
CANCEL_WAITING = """
WITH canceled AS (
    DELETE FROM delivery_queue q USING deliveries d
    WHERE d.message_id = $1 AND q.delivery_id = d.id AND (q.token IS NULL OR q.visible_at <= $2)
    RETURNING q.delivery_id)
UPDATE deliveries d SET status = 'canceled', completed_at = $2 FROM canceled c WHERE d.id = c.delivery_id
"""


@dataclass(frozen=True, slots=True)
class CustomMessage:
    """A message that a program has published: its event id, how long it is kept, and a digest of its content."""

    message_id: uuid.UUID
    event_id: str
    keep_until: datetime
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class Receiver:
    """An endpoint that a message may be sent to again, with its delivery if there is one."""

    endpoint_id: uuid.UUID
    partner_id: uuid.UUID | None
    format: str
    event_types: frozenset[str]
    delivery_id: uuid.UUID | None
    delivery_format: str | None


_RECEIVER: Final = Rows(Receiver, event_types=frozenset)
_CUSTOM: Final = Values(INSERT_CUSTOM.tables["r"], CustomMessage)
_LISTED: Final = Rows(ListedMessage)
_MESSAGE: Final = Rows(Message)
_PUBLISHED: Final = Rows(Published, "message", "is_new", "is_large")


async def list_page(
    connection: Connection,
    owner: Owner,
    chosen: MessageFilter,
    before: tuple[datetime, uuid.UUID] | None,
    limit: int,
) -> MessagePage:
    """Return messages of the program, or those that a partner may see, the newest first."""
    end = (chosen.until or _LAST, LAST_ID if chosen.until is None else FIRST_ID)
    until, until_id = end if before is None else min(before, end)
    wanted = {
        "program": owner.program_id,
        "since": chosen.since or _FIRST,
        "until": until,
        "until_id": until_id,
        "type": like_pattern(chosen.event_type),
        "limit": limit + 1,
        "scanned": SCANNED_PER_PAGE,
    }
    if owner.partner_id is None:
        rows = await connection.fetch(*LIST_OF_PROGRAM(**wanted))
    else:
        rows = await connection.fetch(*LIST_OF_PARTNER(**wanted, partner=owner.partner_id))
    found = sorted((_LISTED(row) for row in rows if not row["is_mark"]), key=_place, reverse=True)
    if len(found) > limit:
        return MessagePage(found[:limit], _place(found[limit - 1]))
    return MessagePage(found, next(((row["created_at"], row["id"]) for row in rows if row["is_mark"]), None))


async def receivers(
    connection: Connection, owner: Owner, message_id: uuid.UUID, endpoint_ids: list[uuid.UUID] | None
) -> list[Receiver]:
    """Return the owner's endpoints that are named, or else those that had the message."""
    rows = await connection.fetch(FIND_RECEIVERS, message_id, owner.program_id, owner.partner_id, endpoint_ids)
    return [_RECEIVER(row) for row in rows]


async def forms(connection: Connection, owner: Owner, message_id: uuid.UUID) -> list[Message]:
    """Return a message in all its forms."""
    rows = await connection.fetch(FIND_FORMS, message_id, owner.program_id, owner.partner_id)
    return [_MESSAGE(row) for row in rows]


async def sent_to(connection: Connection, endpoint_id: uuid.UUID, message_id: uuid.UUID) -> Sent | None:
    """Return what was sent to an endpoint under the id of a message; None if there was no such delivery."""
    row = await connection.fetchrow(FIND_SENT, message_id, endpoint_id)
    return None if row is None else Sent(is_known=True, body=row["body"])


async def insert_custom(connection: Connection, published: Sequence[CustomMessage]) -> None:
    """Record that messages were published by programs."""
    await connection.execute(*INSERT_CUSTOM(r=_CUSTOM.columns(published)))


async def find_digests(connection: Connection, message_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, bytes | None]:
    """Return the digests of stored messages that programs have published; None if unknown."""
    rows = await connection.fetch(FIND_DIGESTS, list(message_ids))
    return {row["message_id"]: row["body_sha256"] for row in rows}


async def find_custom(
    connection: Connection, wanted: Collection[tuple[uuid.UUID, uuid.UUID]]
) -> dict[tuple[uuid.UUID, uuid.UUID], Published]:
    """Return messages that programs have published, by program and id."""
    pairs = {"program_id": [pair[0] for pair in wanted], "id": [pair[1] for pair in wanted]}
    rows = await connection.fetch(*FIND_CUSTOM(r=pairs))
    return {(row["program_id"], row["id"]): _PUBLISHED(row, message=_LISTED(row)) for row in rows}


async def redact(connection: Connection, program_id: uuid.UUID, message_id: uuid.UUID, now: datetime) -> int | None:
    """Redact the content of a message and cancel its pending deliveries.

    Returns how many deliveries are being sent right now, in which case the caller rolls back; None if there is no
    message.
    """
    if not await connection.fetch(LOCK_FORMS, message_id, program_id):
        return None
    await connection.execute(REDACT, message_id, program_id, now)
    await connection.execute(CANCEL_WAITING, message_id, now)
    under_way: int = await connection.fetchval(COUNT_UNDER_WAY, message_id, now)
    return under_way


def _place(message: ListedMessage) -> tuple[datetime, uuid.UUID]:
    return message.created_at, message.id
