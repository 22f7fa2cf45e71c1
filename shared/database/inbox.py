"""The inbox: which events a service has already taken in, so that any number of deliveries leave the state of one."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.database.pool import Connection

RECORD_EVENTS = """
INSERT INTO inbox (program_id, source, event_id, body_sha256, received_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::timestamptz[])
ORDER BY 1, 2, 3
ON CONFLICT (program_id, source, event_id) DO NOTHING
RETURNING program_id, source, event_id
"""
FIND_EVENTS = """
SELECT i.program_id, i.source, i.event_id, i.body_sha256
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS q (program_id, source, event_id)
JOIN inbox i USING (program_id, source, event_id)
"""

Verdict = Literal["fresh", "duplicate", "conflict"]


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """The identity of an event as its sender gave it, and the digest of the bytes that came."""

    program_id: uuid.UUID
    source: str
    event_id: str
    body_sha256: bytes


async def record(connection: Connection, entries: Sequence[InboxEntry], received_at: Sequence[object]) -> list[Verdict]:
    """Record events in the transaction of their effects and say of each whether it is fresh.

    `duplicate` means the same id with the same body was here before, `conflict` the same id with another body. Of equal
    ids within one call the first counts.
    """
    first: dict[tuple[uuid.UUID, str, str], int] = {}
    for index, entry in enumerate(entries):
        first.setdefault((entry.program_id, entry.source, entry.event_id), index)
    chosen = [entries[index] for index in first.values()]
    rows = await connection.fetch(
        RECORD_EVENTS,
        [e.program_id for e in chosen],
        [e.source for e in chosen],
        [e.event_id for e in chosen],
        [e.body_sha256 for e in chosen],
        [received_at[index] for index in first.values()],
    )
    fresh = {(row["program_id"], row["source"], row["event_id"]) for row in rows}
    known = {key: entries[index].body_sha256 for key, index in first.items() if key in fresh}
    if len(fresh) < len(first):
        seen = [key for key in first if key not in fresh]
        found = await connection.fetch(FIND_EVENTS, *(list(column) for column in zip(*seen, strict=True)))
        known |= {(row["program_id"], row["source"], row["event_id"]): row["body_sha256"] for row in found}
    return [_verdict(index, entry, first, fresh, known) for index, entry in enumerate(entries)]


def _verdict(
    index: int,
    entry: InboxEntry,
    first: dict[tuple[uuid.UUID, str, str], int],
    fresh: set[tuple[uuid.UUID, str, str]],
    known: dict[tuple[uuid.UUID, str, str], bytes],
) -> Verdict:
    key = (entry.program_id, entry.source, entry.event_id)
    if first[key] == index and key in fresh:
        return "fresh"
    return "duplicate" if known[key] == entry.body_sha256 else "conflict"
