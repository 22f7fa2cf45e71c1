"""The inbox: which events a service has already handled, so that any number of deliveries have the effect of one."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

import asyncpg

from shared.database.pool import Connection

RECORD_EVENTS = """
INSERT INTO inbox (program_id, source, event_id, body_sha256, received_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::timestamptz[])
ORDER BY 1, 2, 3
ON CONFLICT (program_id, source, event_id) DO NOTHING
RETURNING program_id, source, event_id
"""
# OFFSET 0 forces one lookup at a time: a plan made while the inbox is new would read all of it ever after. A plan made
# just after the vacuum of an empty inbox still does, until the server analyses the table, a minute later.
FIND_EVENTS = """
SELECT i.program_id, i.source, i.event_id, i.body_sha256
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS q (program_id, source, event_id), LATERAL (
    SELECT r.program_id, r.source, r.event_id, r.body_sha256 FROM inbox r
    WHERE r.program_id = q.program_id AND r.source = q.source AND r.event_id = q.event_id
    OFFSET 0) i
"""
PURGE_INBOX = "SELECT purge_inbox($1, $2)"

Verdict = Literal["fresh", "duplicate", "conflict"]
Identity: TypeAlias = tuple[uuid.UUID, str, str]


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """The identity of an event as its sender gave it, and the digest of the received bytes."""

    program_id: uuid.UUID
    source: str
    event_id: str
    body_sha256: bytes

    @property
    def identity(self) -> Identity:
        """The identity of the event."""
        return self.program_id, self.source, self.event_id


class Arrivals:
    """A batch of events as received; the first one of those with the same identity counts."""

    def __init__(self, entries: Sequence[InboxEntry]) -> None:
        self._entries = entries
        self._first: dict[Identity, int] = {}
        for index, entry in enumerate(entries):
            self._first.setdefault(entry.identity, index)

    @property
    def first(self) -> list[int]:
        """The positions of the events that count."""
        return list(self._first.values())

    def verdicts(self, known: Mapping[Identity, bytes]) -> list[Verdict]:
        """Return the verdict on each event, given the digests of those received before."""
        return [self._verdict(index, entry, known) for index, entry in enumerate(self._entries)]

    def _verdict(self, index: int, entry: InboxEntry, known: Mapping[Identity, bytes]) -> Verdict:
        digest = known.get(entry.identity)
        if digest is None:
            first = self._first[entry.identity]
            if first == index:
                return "fresh"
            digest = self._entries[first].body_sha256
        return "duplicate" if digest == entry.body_sha256 else "conflict"


def identities(entries: Iterable[InboxEntry]) -> tuple[list[uuid.UUID], list[str], list[str]]:
    """Return the identities of entries column by column, as statements take them."""
    chosen = list(entries)
    return [e.program_id for e in chosen], [e.source for e in chosen], [e.event_id for e in chosen]


def columns(entries: Sequence[InboxEntry]) -> dict[str, list[Any]]:
    """Return entries as the columns of a table."""
    program_ids, sources, event_ids = identities(entries)
    digests = [entry.body_sha256 for entry in entries]
    return {"program_id": program_ids, "source": sources, "event_id": event_ids, "body_sha256": digests}


def digests(rows: "Iterable[asyncpg.Record]") -> dict[Identity, bytes]:
    """Return the digests of recorded events by their identities."""
    return {(row["program_id"], row["source"], row["event_id"]): row["body_sha256"] for row in rows}


async def record(
    connection: Connection, entries: Sequence[InboxEntry], received_at: Sequence[datetime]
) -> list[Verdict]:
    """Record events in the transaction of their effects and return the verdict on each.

    `duplicate` means that the same id was received before with the same body, `conflict` with another body.
    """
    arrivals = Arrivals(entries)
    chosen = [entries[index] for index in arrivals.first]
    rows = await connection.fetch(
        RECORD_EVENTS,
        *identities(chosen),
        [entry.body_sha256 for entry in chosen],
        [received_at[index] for index in arrivals.first],
    )
    if len(rows) == len(chosen):
        return arrivals.verdicts({})
    fresh = {(row["program_id"], row["source"], row["event_id"]) for row in rows}
    seen = [entry for entry in chosen if entry.identity not in fresh]
    return arrivals.verdicts(digests(await connection.fetch(FIND_EVENTS, *identities(seen))))


async def purge_inbox(connection: Connection, before: datetime, limit: int) -> int:
    """Forget up to `limit` events received before a time, at least 35 days ago; repeats are handled again."""
    removed: int = await connection.fetchval(PURGE_INBOX, before, limit)
    return removed
