"""Partners' bodies from before the lists of what partners may see: found, rewritten, and marked as such.

Nothing here waits for a lock. A row that another transaction holds is left for the next time, so that live traffic
cannot deadlock with it.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values

# Flat bodies were the program's too, so the program keeps its version in a form of its own. The forms are locked
# meanwhile, so a redaction comes either before and leaves nothing to copy, or after and finds the copy.
KEEP_FOR_PROGRAMS = """
WITH chosen AS MATERIALIZED (
    SELECT id, format, program_id, partner_id, event_type, occurred_at, body, content, created_at, redacted_at,
           traceparent, sequence, code_key
    FROM messages
    WHERE event_type IN ('code.redemption_rejected', 'code.redemption_voided') AND partner_id IS NOT NULL
        AND (format = 'flat' OR format LIKE '%-partner') AND lists_version IS NULL AND (id, format) > ($1, $2)
    ORDER BY id, format LIMIT $3 FOR UPDATE SKIP LOCKED
), kept AS (
    INSERT INTO messages (id, format, program_id, partner_id, event_type, occurred_at, body, content, created_at,
                          redacted_at, traceparent, sequence, lists_version, code_key)
    SELECT id, 'flat-program', program_id, partner_id, event_type, occurred_at, body, content, created_at,
           redacted_at, traceparent, sequence, 1, code_key
    FROM chosen WHERE format = 'flat'
    ON CONFLICT (id, format) DO NOTHING
)
SELECT id, format FROM chosen ORDER BY id, format
"""
HOLD = Statement("""
SELECT m.id, m.format, m.event_type, m.body, m.content
FROM messages m JOIN @c(id uuid, format text) ON c.id = m.id AND c.format = m.format
WHERE m.lists_version IS NULL
ORDER BY m.id, m.format FOR UPDATE OF m SKIP LOCKED
""")
# A program's deliveries of a flat body continue with the program's form.
FIND_OF_PROGRAMS = """
SELECT d.id, d.message_id FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id
WHERE d.message_id = ANY($1::uuid[]) AND d.format = 'flat' AND e.partner_id IS NULL
"""
HOLD_DELIVERIES = "SELECT id FROM deliveries WHERE id = ANY($1::uuid[]) FOR NO KEY UPDATE SKIP LOCKED"
FIND_QUEUED = "SELECT delivery_id FROM delivery_queue WHERE delivery_id = ANY($1::uuid[])"
HOLD_QUEUED = "SELECT delivery_id FROM delivery_queue WHERE delivery_id = ANY($1::uuid[]) FOR UPDATE SKIP LOCKED"
POINT_TO_PROGRAMS = """
WITH queued AS (
    UPDATE delivery_queue SET format = 'flat-program' WHERE delivery_id = ANY($1::uuid[])
)
UPDATE deliveries SET format = 'flat-program' WHERE id = ANY($1::uuid[])
"""
RESTATE = Statement("""
UPDATE messages m SET body = n.body, content = n.content, lists_version = n.lists_version
FROM @n(id uuid, format text, body bytea, content bytea, lists_version smallint)
WHERE m.id = n.id AND m.format = n.format
""")


@dataclass(frozen=True, slots=True)
class Stored:
    """A message in one of its stored forms; `body` and `content` are None once they are deleted."""

    id: uuid.UUID
    format: str
    event_type: str
    body: bytes | None
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Restated:
    """What to store of a form instead, and the version of the lists that it was written by."""

    id: uuid.UUID
    format: str
    body: bytes | None
    content: bytes | None
    lists_version: int


_STORED: Final = Rows(Stored)
_RESTATED: Final = Values(RESTATE.tables["n"], Restated)


async def keep_for_programs(
    connection: Connection, after: tuple[uuid.UUID, str], limit: int
) -> list[tuple[uuid.UUID, str]]:
    """Return the next forms that show too much, and make sure that programs keep what theirs shows."""
    rows = await connection.fetch(KEEP_FOR_PROGRAMS, *after, limit)
    return [(row["id"], row["format"]) for row in rows]


async def hold(connection: Connection, chosen: Sequence[tuple[uuid.UUID, str]]) -> list[Stored]:
    """Lock and return those forms that still have to be rewritten and that no transaction holds."""
    columns = {"id": [id_ for id_, _ in chosen], "format": [format_ for _, format_ in chosen]}
    return [_STORED(row) for row in await connection.fetch(*HOLD(c=columns))]


async def hand_to_programs(connection: Connection, message_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Let the programs' deliveries of flat bodies continue with the programs' form.

    Returns the messages with a delivery that another transaction holds; none of their deliveries was touched.
    """
    of_programs = {row["id"]: row["message_id"] for row in await connection.fetch(FIND_OF_PROGRAMS, message_ids)}
    wanted = list(of_programs)
    held = {row["id"] for row in await connection.fetch(HOLD_DELIVERIES, wanted)}
    queued = {row["delivery_id"] for row in await connection.fetch(FIND_QUEUED, wanted)}
    held_queued = {row["delivery_id"] for row in await connection.fetch(HOLD_QUEUED, wanted)}
    busy = {of_programs[id_] for id_ in (of_programs.keys() - held) | (queued - held_queued)}
    ready = [id_ for id_, message_id in of_programs.items() if message_id not in busy]
    await connection.execute(POINT_TO_PROGRAMS, ready)
    return busy


async def restate(connection: Connection, restated: Sequence[Restated]) -> None:
    """Store other bodies under the same ids."""
    await connection.execute(*RESTATE(n=_RESTATED.columns(restated)))
