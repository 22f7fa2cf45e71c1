"""Messages: shown, redacted, and removed once they are old."""

import uuid
from datetime import datetime
from typing import Any

from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.messages import Message
from shared.database.pool import Connection

FIND_FORMS = """
SELECT id, format, partner_id, event_type, occurred_at, created_at, body, content, redacted_at
FROM messages WHERE id = $1 AND program_id = $2 AND ($3::uuid IS NULL OR partner_id = $3)
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


async def forms(connection: Connection, owner: Owner, message_id: uuid.UUID) -> list[Message]:
    """Return a message in all the forms that it was made in."""
    rows = await connection.fetch(FIND_FORMS, message_id, owner.program_id, owner.partner_id)
    return [_message(row) for row in rows]


async def redact(connection: Connection, program_id: uuid.UUID, message_id: uuid.UUID, now: datetime) -> int | None:
    """Forget the content of a message and cancel what waits to be sent of it.

    Returns how many deliveries are being sent just now, in which case the caller undoes it; None for no message.
    """
    if not await connection.fetch(LOCK_FORMS, message_id, program_id):
        return None
    await connection.execute(REDACT, message_id, program_id, now)
    await connection.execute(CANCEL_WAITING, message_id, now)
    under_way: int = await connection.fetchval(COUNT_UNDER_WAY, message_id, now)
    return under_way


def _message(row: Any) -> Message:
    return Message(
        row["id"],
        row["format"],
        row["partner_id"],
        row["event_type"],
        row["occurred_at"],
        row["created_at"],
        row["body"],
        row["content"],
        row["redacted_at"],
    )
