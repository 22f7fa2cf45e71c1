"""A service's part of exporting or erasing a customer: steps in order, each a chunk per transaction, until all is done.

The row of a part is locked during a chunk, and records in the same transaction where the next one begins: after a
crash another process continues there, and two processes never work on one part at once.
"""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

import asyncpg

from shared.clock import Clock
from shared.database.inbox import InboxEntry, Verdict
from shared.database.pool import Connection, Database, affected
from shared.database.rows import Rows
from shared.erasing import CustomerJob, JobKind
from shared.known_ids import FIRST_ID
from shared.log import get_logger
from shared.modes import shown_id
from shared.periodic import for_each

# One look at an index that is nearly always empty.
INTERVAL_SECONDS: Final = 1.0
BREATH_SECONDS: Final = 0.02
CHUNK: Final = 200
JOBS_AT_ONCE: Final = 20
_LINES_AT_ONCE: Final = 1_000

# The other services read the jobs in redemption's published views; redemption itself reads its table.
LIST_JOBS = """
SELECT j.job_id AS id, j.program_id, j.kind, j.keys, j.digests, j.actor, j.created_at
FROM redemption.customer_jobs_v1 j
WHERE NOT EXISTS (SELECT FROM customer_parts p WHERE p.job_id = j.job_id AND p.done_at IS NOT NULL)
ORDER BY j.job_id LIMIT $1
"""
LIST_EVENTS = """
SELECT event_id, is_whole, body FROM redemption.customer_events_v1
WHERE job_id = $1 AND event_id > $2 ORDER BY event_id LIMIT $3
"""
FIND_ERASED_EVENTS = """
SELECT event_id FROM redemption.customer_events_v1 WHERE event_id = ANY ($1::uuid[]) AND kind = 'erase'
UNION
SELECT event_id FROM codes.erased_events_v1 WHERE event_id = ANY ($1::uuid[])
"""
DELETE_WITHDRAWN_LINES = """
DELETE FROM customer_lines WHERE (job_id, nth) IN (
    SELECT l.job_id, l.nth FROM customer_lines l
    WHERE NOT EXISTS (SELECT FROM redemption.customer_exports_v1 x WHERE x.job_id = l.job_id) LIMIT $1)
"""
BEGIN_PART = "INSERT INTO customer_parts (job_id, started_at) VALUES ($1, $2) ON CONFLICT (job_id) DO NOTHING"
LOOK_AT_PART = "SELECT step, position FROM customer_parts WHERE job_id = $1 AND done_at IS NULL"
LOCK_PART = """
SELECT step, position, counts FROM customer_parts WHERE job_id = $1 AND done_at IS NULL FOR UPDATE SKIP LOCKED
"""
MOVE_PART = """
UPDATE customer_parts SET step = $2, position = $3::jsonb, counts = $4::jsonb, done_at = $5 WHERE job_id = $1
"""
ADD_LINES = """
INSERT INTO customer_lines (job_id, nth, line)
SELECT $1, coalesce((SELECT max(nth) FROM customer_lines WHERE job_id = $1), 0) + l.nth, l.line
FROM unnest($2::bytea[]) WITH ORDINALITY AS l (line, nth)
"""
PURGE_LINES = """
DELETE FROM customer_lines WHERE (job_id, nth) IN (
    SELECT l.job_id, l.nth FROM customer_parts p JOIN customer_lines l ON l.job_id = p.job_id
    WHERE p.done_at < $1 ORDER BY p.done_at, l.nth LIMIT $2)
"""
PURGE_PARTS = """
DELETE FROM customer_parts WHERE job_id = ANY (ARRAY(
    SELECT job_id FROM customer_parts WHERE done_at < $1 ORDER BY done_at LIMIT $2))
"""
# Answers stored in plain text, of the program's own keys.
LIST_ANSWERS = """
SELECT route, key, body FROM idempotency_keys
WHERE owner_id = $1 AND (route, key) > ($2, $3) AND NOT is_encrypted
ORDER BY route, key LIMIT $4 FOR UPDATE
"""
WRITE_ANSWER = "UPDATE idempotency_keys SET body = $4 WHERE owner_id = $1 AND route = $2 AND key = $3"
# A role may not lock events: of two concurrent erasures, the second would write back what the first removed.
LOCK_HISTORY = "SELECT pg_advisory_xact_lock(7236191, hashtext(current_schema()))"


@dataclass(frozen=True, slots=True)
class Chunk:
    """The result of a chunk: where the next one begins (None at the step's end), counts by kind, and lines."""

    position: Sequence[Any] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    lines: Sequence[bytes] = ()
    must_wait: bool = False


Step: TypeAlias = Callable[[Connection, CustomerJob, Sequence[Any]], Awaitable[Chunk]]


@dataclass(frozen=True, slots=True)
class Outside:
    """A step of one chunk outside the database, and so outside any transaction."""

    act: Callable[[CustomerJob], Awaitable[int]]
    what: str


Steps: TypeAlias = Mapping[JobKind, Sequence[Step | Outside]]


@dataclass(frozen=True, slots=True)
class CustomerParts:
    """Does this service's part of every unfinished job; runs in every process.

    Without `list_jobs`, the jobs are those that redemption publishes.
    """

    database: Database
    clock: Clock
    steps: Steps
    list_jobs: "Callable[[Connection], Awaitable[list[CustomerJob]]] | None" = None
    breath_seconds: float = BREATH_SECONDS

    async def __call__(self) -> None:
        """Work until nothing is left, or the rest has to wait."""
        async with self.database.connection() as connection:
            jobs = await (self.list_jobs or list_shown_jobs)(connection)
        await for_each(jobs, self._work)

    async def _work(self, job: CustomerJob) -> None:
        while await self._step(job):  # noqa: ASYNC110 - a pause between pieces of work, not a wait for anything
            # Between chunks, requests have the database.
            await asyncio.sleep(self.breath_seconds)

    async def _step(self, job: CustomerJob) -> bool:
        """Do one chunk; return whether another is due now."""
        now = self.clock()
        async with self.database.connection() as connection:
            await connection.execute(BEGIN_PART, job.id, now)
            part = await connection.fetchrow(LOOK_AT_PART, job.id)
        if part is None:
            return False
        step = self.steps[job.kind][part["step"]]
        done = Chunk(None, {step.what: await step.act(job)}) if isinstance(step, Outside) else None
        async with self.database.transaction() as connection:
            locked = await connection.fetchrow(LOCK_PART, job.id)
            if locked is None or (locked["step"], locked["position"]) != (part["step"], part["position"]):
                # Another process is working on it, or was faster; in the latter case more is left.
                return locked is not None
            if not isinstance(step, Outside):
                done = await step(connection, job, json.loads(locked["position"]))
            return await self._move(connection, job, locked, done or Chunk(), now)

    async def _move(
        self, connection: Connection, job: CustomerJob, part: "asyncpg.Record", chunk: Chunk, now: datetime
    ) -> bool:
        if chunk.lines:
            await connection.execute(ADD_LINES, job.id, list(chunk.lines))
        counts = Counter(json.loads(part["counts"])) + Counter(chunk.counts)
        step, position = part["step"], chunk.position
        if position is None:
            step, position = step + 1, []
        is_done = step == len(self.steps[job.kind])
        await connection.execute(
            MOVE_PART, job.id, step, json.dumps(position), json.dumps(counts), now if is_done else None
        )
        if is_done:
            get_logger().info("customer_part_done", job_id=str(job.id), kind=job.kind, **counts)
        return not (is_done or chunk.must_wait)


async def list_shown_jobs(connection: Connection) -> list[CustomerJob]:
    """Return the jobs that redemption publishes and whose part in this service is not done."""
    return [job_of(row) for row in await connection.fetch(LIST_JOBS, JOBS_AT_ONCE)]


job_of: Final = Rows(CustomerJob, keys=tuple, digests=tuple)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedEvent:
    """An event that names the customer, entirely about it or not, with its body while the history has it."""

    event_id: uuid.UUID
    is_whole: bool
    body: bytes | None


async def events_of(
    connection: Connection, job: CustomerJob, position: Sequence[Any], limit: int = CHUNK
) -> list[NamedEvent]:
    """Return the next events of redemption that name the customer."""
    after = uuid.UUID(position[0]) if position else FIRST_ID
    return [NamedEvent(**row) for row in await connection.fetch(LIST_EVENTS, job.id, after, limit)]


async def known_as_erased(
    database: Database, entries: Sequence[InboxEntry], verdicts: Sequence[Verdict]
) -> list[Verdict]:
    """Return the verdicts on a batch of events; one that was erased returns with another body without a conflict.

    Only apparent conflicts are looked up, so that nothing else pays for it.
    """
    in_doubt = {
        event_id
        for entry, verdict in zip(entries, verdicts, strict=True)
        if verdict == "conflict" and (event_id := _id(entry.event_id)) is not None
    }
    if not in_doubt:
        return list(verdicts)
    async with database.connection() as connection:
        rows = await connection.fetch(FIND_ERASED_EVENTS, list(in_doubt))
    erased = {row["event_id"] for row in rows}
    return [
        "duplicate" if verdict == "conflict" and _id(entry.event_id) in erased else verdict
        for entry, verdict in zip(entries, verdicts, strict=True)
    ]


def _id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


async def remove_withdrawn(connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
    """Remove the next lines of exports that were withdrawn, this customer's or another's."""
    count = affected(await connection.execute(DELETE_WITHDRAWN_LINES, _LINES_AT_ONCE))
    return Chunk([str(job.id)] if count == _LINES_AT_ONCE else None, {"export_lines": count})


async def erase_answers(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Take the customer out of the next answers that are stored for repeats."""
    rows = await connection.fetch(LIST_ANSWERS, job.program_id, *(position or ("", "")), CHUNK)
    erasing, count = job.erasing, 0
    for row in rows:
        if (body := erasing.body(row["body"])) is not None:
            await connection.execute(WRITE_ANSWER, job.program_id, row["route"], row["key"], body)
            count += 1
    return Chunk(_after_answers(rows), {"answers": count})


def export_answers(service: str) -> Step:
    """Return the step that exports the stored answers which name the customer."""

    async def export(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
        rows = await connection.fetch(LIST_ANSWERS, job.program_id, *(position or ("", "")), CHUNK)
        erasing = job.erasing
        found = [row for row in rows if erasing.body(row["body"]) is not None]
        lines = [
            line_of(service, "kept_answer", {"route": row["route"], "answer": json.loads(row["body"])}) for row in found
        ]
        return Chunk(_after_answers(rows), {"answers": len(lines)}, lines)

    return export


def _after_answers(rows: "Sequence[asyncpg.Record]") -> list[str] | None:
    return [rows[-1]["route"], rows[-1]["key"]] if len(rows) == CHUNK else None


def line_of(service: str, kind: str, data: object) -> bytes:
    """Return a line of an export."""
    if isinstance(data, dict):
        # As shown everywhere else: rows have the tenant's ids.
        data = {**data, **{name: _shown(data[name]) for name in ("program_id", "partner_id") if name in data}}
    members = {"service": service, "kind": kind, "data": data}
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _shown(owner: object) -> object:
    try:
        return shown_id(uuid.UUID(str(owner)))
    except ValueError:
        return owner


async def lock_history(connection: Connection) -> None:
    """Keep other erasures of this service from rewriting its events until the transaction ends."""
    await connection.execute(LOCK_HISTORY)


async def purge_lines(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` export lines that this service found before a time."""
    return affected(await connection.execute(PURGE_LINES, before, limit))


async def purge_parts(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` parts that were finished before a time."""
    return affected(await connection.execute(PURGE_PARTS, before, limit))
