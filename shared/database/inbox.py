"""The inbox: which events a service has already taken in, so that any number of deliveries leave the state of one."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import asyncpg

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


class Arrivals:
    """A batch of events to be recorded, each identity once; of equal ones the first counts."""

    def __init__(self, entries: Sequence[InboxEntry], received_at: Sequence[datetime]) -> None:
        self._entries = entries
        self._first: dict[tuple[uuid.UUID, str, str], int] = {}
        for index, entry in enumerate(entries):
            self._first.setdefault((entry.program_id, entry.source, entry.event_id), index)
        chosen = [entries[index] for index in self._first.values()]
        self.columns = (
            [e.program_id for e in chosen],
            [e.source for e in chosen],
            [e.event_id for e in chosen],
            [e.body_sha256 for e in chosen],
            [received_at[index] for index in self._first.values()],
        )

    async def verdicts(self, connection: Connection, recorded: "Iterable[asyncpg.Record]") -> list[Verdict]:
        """Say of each event whether it is fresh, given the rows that were made for it and the others."""
        fresh = {(row["program_id"], row["source"], row["event_id"]) for row in recorded}
        known = {key: self._entries[index].body_sha256 for key, index in self._first.items() if key in fresh}
        if len(fresh) < len(self._first):
            seen = [key for key in self._first if key not in fresh]
            found = await connection.fetch(FIND_EVENTS, *(list(column) for column in zip(*seen, strict=True)))
            known |= {(row["program_id"], row["source"], row["event_id"]): row["body_sha256"] for row in found}
        return [self._verdict(index, entry, fresh, known) for index, entry in enumerate(self._entries)]

    def _verdict(
        self,
        index: int,
        entry: InboxEntry,
        fresh: set[tuple[uuid.UUID, str, str]],
        known: dict[tuple[uuid.UUID, str, str], bytes],
    ) -> Verdict:
        key = (entry.program_id, entry.source, entry.event_id)
        if self._first[key] == index and key in fresh:
            return "fresh"
        return "duplicate" if known[key] == entry.body_sha256 else "conflict"


async def record(
    connection: Connection, entries: Sequence[InboxEntry], received_at: Sequence[datetime]
) -> list[Verdict]:
    """Record events in the transaction of their effects and say of each whether it is fresh.

    `duplicate` means the same id with the same body was here before, `conflict` the same id with another body.
    """
    arrivals = Arrivals(entries, received_at)
    return await arrivals.verdicts(connection, await connection.fetch(RECORD_EVENTS, *arrivals.columns))
