"""The customers of codes, and those named in them: found, shown and replaced, in codes, log and jobs."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.database.pool import Connection
from shared.database.rows import Statement

# The two halves match the two partial indexes.
FIND_CODES = """
(SELECT c.id FROM promotion_codes c
 WHERE c.program_id = $1 AND c.customer_id = ANY ($2::text[]) AND c.archived_at IS NULL AND c.customer_id IS NOT NULL
   AND c.id > $3 ORDER BY c.id LIMIT $4)
UNION ALL
(SELECT c.id FROM promotion_codes c
 WHERE c.program_id = $1 AND c.customer_id = ANY ($2::text[]) AND c.archived_at IS NOT NULL
   AND c.customer_id IS NOT NULL AND c.id > $3 ORDER BY c.id LIMIT $4)
ORDER BY id LIMIT $4
"""
LOCK_CODES = """
SELECT c.id, c.customer_id, c.metadata FROM promotion_codes c
WHERE c.id = ANY ($1::uuid[]) ORDER BY c.id FOR NO KEY UPDATE
"""
ERASE_CODES = Statement("""
UPDATE promotion_codes c SET customer_id = n.customer_id, customer_name = NULL, metadata = n.metadata
FROM @n(id uuid, customer_id text, metadata jsonb)
WHERE c.id = ANY ($n.id::uuid[]) AND c.id = n.id
""")
SHOW_CODES = "SELECT to_jsonb(c) AS shown FROM promotion_codes c WHERE c.id = ANY ($1::uuid[]) ORDER BY c.id"
# A slice of the log: the entries that may name a customer, and whether those with only a name are about this one, to
# whom the code belonged at that time.
READ_LOG = """
SELECT s.id,
       CASE WHEN s.changes ?| ARRAY['customer_id', 'customer_name', 'metadata', 'spec'] THEN s.changes END AS changes,
       CASE WHEN s.changes ? 'customer_name' AND NOT s.changes ? 'customer_id' THEN coalesce(
           (SELECT b.changes->'customer_id'->>'to' FROM audit_log b
            WHERE b.object_id = s.object_id AND b.id < s.id AND b.changes ? 'customer_id'
            ORDER BY b.object_id DESC, b.id DESC LIMIT 1),
           (SELECT b.changes->'customer_id'->>'from' FROM audit_log b
            WHERE b.object_id = s.object_id AND b.id > s.id AND b.changes ? 'customer_id'
            ORDER BY b.object_id, b.id LIMIT 1),
           (SELECT c.customer_id FROM promotion_codes c WHERE c.id = s.object_id)) = ANY ($4::text[]) END AS is_theirs
FROM (SELECT a.id, a.object_id, a.changes FROM audit_log a
      WHERE (a.program_id, a.id) > ($1, $2) AND a.program_id <= $1
      ORDER BY a.program_id, a.id LIMIT $3) s
ORDER BY s.id
"""
ERASE_LOG = "SELECT erase_audit_log($1, $2)"
READ_JOBS = """
SELECT j.id, j.spec FROM jobs j WHERE (j.program_id, j.id) > ($1, $2) AND j.program_id <= $1
ORDER BY j.program_id, j.id LIMIT $3
"""
OPEN_JOBS = """
SELECT j.kind, j.spec FROM jobs j WHERE j.program_id = $1 AND j.finished_at IS NULL AND j.created_at <= $2
"""
READ_JOB_ERRORS = """
SELECT s.job_id, s.line, s.code, s.detail FROM (
    SELECT e.job_id, e.line, e.code, e.detail FROM job_errors e
    WHERE e.job_id = $1 AND e.line > $2 ORDER BY e.job_id, e.line LIMIT $3) s
"""
ERASE_JOB_ERROR = "UPDATE job_errors SET code = $3, detail = $4 WHERE job_id = $1 AND line = $2"
# The metadata of codes and coupons: live ones in order of their ids, archived codes in order of their strings.
READ_LIVE_NOTES = """
SELECT s.id, nullif(s.metadata, '{}') AS metadata FROM (
    SELECT c.id, c.metadata FROM promotion_codes c
    WHERE c.program_id = $1 AND c.id > $2 AND c.archived_at IS NULL ORDER BY c.program_id, c.id LIMIT $3) s
ORDER BY s.id
"""
READ_ARCHIVED_NOTES = """
SELECT s.id, s.canonical, nullif(s.metadata, '{}') AS metadata FROM (
    SELECT c.id, c.canonical, c.metadata FROM promotion_codes c
    WHERE c.program_id = $1 AND c.canonical >= $2 AND (c.canonical, c.id) > ($2, $3) AND c.archived_at IS NOT NULL
    ORDER BY c.program_id, c.canonical, c.id LIMIT $4) s
ORDER BY s.canonical, s.id
"""
LOCK_NOTES = """
SELECT c.id, c.metadata FROM promotion_codes c WHERE c.id = ANY ($1::uuid[]) ORDER BY c.id FOR NO KEY UPDATE
"""
ERASE_NOTES = """
UPDATE promotion_codes c SET metadata = n.metadata FROM unnest($1::uuid[], $2::jsonb[]) AS n (id, metadata)
WHERE c.id = ANY ($1::uuid[]) AND c.id = n.id
"""
LOCK_COUPONS = """
SELECT c.id, c.metadata FROM coupons c
WHERE c.program_id = $1 AND c.id > $2 ORDER BY c.program_id, c.id LIMIT $3 FOR NO KEY UPDATE
"""
ERASE_COUPON = "UPDATE coupons SET metadata = $2 WHERE id = $1"
READ_EVENTS = """
SELECT s.id, CASE WHEN s.type IN ('coupon.created', 'coupon.updated') THEN s.body END AS body FROM (
    SELECT e.id, e.type, e.body FROM events e WHERE e.id > $1 ORDER BY e.id LIMIT $2) s
ORDER BY s.id
"""
ERASE_EVENTS = "SELECT erase_events($1, $2)"
ERASE_JOB = "UPDATE jobs SET spec = $2 WHERE id = $1"


async def find_codes(
    connection: Connection, program_id: uuid.UUID, customer_ids: Sequence[str], after: uuid.UUID, limit: int
) -> list[uuid.UUID]:
    """Return the next codes of a customer, including archived ones."""
    return [row["id"] for row in await connection.fetch(FIND_CODES, program_id, customer_ids, after, limit)]


async def lock_codes(connection: Connection, ids: Sequence[uuid.UUID]) -> list[tuple[uuid.UUID, str | None, Any]]:
    """Lock codes and return their customers with these customers' metadata."""
    rows = await connection.fetch(LOCK_CODES, ids)
    return [(row["id"], row["customer_id"], json.loads(row["metadata"])) for row in rows]


async def erase_codes(connection: Connection, codes: Sequence[tuple[uuid.UUID, str | None, Any]]) -> None:
    """Write codes with other customers, and without their names."""
    await connection.execute(
        *ERASE_CODES(
            n={
                "id": [code_id for code_id, _, _ in codes],
                "customer_id": [customer_id for _, customer_id, _ in codes],
                "metadata": [json.dumps(metadata) for _, _, metadata in codes],
            }
        )
    )


async def show_codes(connection: Connection, ids: Sequence[uuid.UUID]) -> list[Any]:
    """Return the present state of codes."""
    return [json.loads(row["shown"]) for row in await connection.fetch(SHOW_CODES, ids)]


async def read_log(
    connection: Connection, program_id: uuid.UUID, after: uuid.UUID, limit: int, customer_ids: Sequence[str]
) -> list[tuple[uuid.UUID, Any, bool]]:
    """Return the next log entries of a program: id, changes that may name a customer, and whether about this one."""
    rows = await connection.fetch(READ_LOG, program_id, after, limit, customer_ids)
    return [
        (row["id"], None if row["changes"] is None else json.loads(row["changes"]), bool(row["is_theirs"]))
        for row in rows
    ]


async def erase_log(connection: Connection, changes: Mapping[uuid.UUID, Any]) -> None:
    """Write entries with other customers."""
    await connection.fetchval(ERASE_LOG, list(changes), [json.dumps(each) for each in changes.values()])


async def read_jobs(
    connection: Connection, program_id: uuid.UUID, after: uuid.UUID, limit: int
) -> list[tuple[uuid.UUID, Any]]:
    """Return the next jobs of a program with their requests."""
    rows = await connection.fetch(READ_JOBS, program_id, after, limit)
    return [(row["id"], json.loads(row["spec"])) for row in rows]


async def erase_job(connection: Connection, job_id: uuid.UUID, spec: Any) -> None:
    """Write a job with another customer."""
    await connection.execute(ERASE_JOB, job_id, json.dumps(spec))


async def open_jobs(connection: Connection, program_id: uuid.UUID, until: datetime) -> list[tuple[str, Any]]:
    """Return the kinds and requests of a program's unfinished jobs from before a time."""
    return [(row["kind"], json.loads(row["spec"])) for row in await connection.fetch(OPEN_JOBS, program_id, until)]


async def read_job_errors(
    connection: Connection, job_id: uuid.UUID, after: int, limit: int
) -> list[tuple[int, str | None, str]]:
    """Return the next lines that a job has refused: number, code and message."""
    rows = await connection.fetch(READ_JOB_ERRORS, job_id, after, limit)
    return [(row["line"], row["code"], row["detail"]) for row in rows]


async def erase_job_error(connection: Connection, job_id: uuid.UUID, line: int, code: str | None, detail: str) -> None:
    """Write a refused line with another message."""
    await connection.execute(ERASE_JOB_ERROR, job_id, line, code, detail)


async def read_live_notes(
    connection: Connection, program_id: uuid.UUID, after: uuid.UUID, limit: int
) -> list[tuple[uuid.UUID, Any]]:
    """Return the next live codes with their metadata; None for none."""
    rows = await connection.fetch(READ_LIVE_NOTES, program_id, after, limit)
    return [(row["id"], _read(row["metadata"])) for row in rows]


async def read_archived_notes(
    connection: Connection, program_id: uuid.UUID, after: tuple[str, uuid.UUID], limit: int
) -> list[tuple[str, uuid.UUID, Any]]:
    """Return the next archived codes in order of canonical forms, with their metadata; None for none."""
    rows = await connection.fetch(READ_ARCHIVED_NOTES, program_id, *after, limit)
    return [(row["canonical"], row["id"], _read(row["metadata"])) for row in rows]


async def lock_notes(connection: Connection, ids: Sequence[uuid.UUID]) -> list[tuple[uuid.UUID, Any]]:
    """Lock codes and return their metadata."""
    return [(row["id"], _read(row["metadata"])) for row in await connection.fetch(LOCK_NOTES, ids)]


async def erase_notes(connection: Connection, notes: Mapping[uuid.UUID, Any]) -> None:
    """Write other metadata of codes."""
    await connection.execute(ERASE_NOTES, list(notes), [json.dumps(each) for each in notes.values()])


async def lock_coupons(
    connection: Connection, program_id: uuid.UUID, after: uuid.UUID, limit: int
) -> list[tuple[uuid.UUID, Any]]:
    """Lock the next coupons and return them with their metadata."""
    rows = await connection.fetch(LOCK_COUPONS, program_id, after, limit)
    return [(row["id"], _read(row["metadata"])) for row in rows]


async def erase_coupon(connection: Connection, coupon_id: uuid.UUID, metadata: Any) -> None:
    """Write other metadata of a coupon."""
    await connection.execute(ERASE_COUPON, coupon_id, json.dumps(metadata))


async def read_events(connection: Connection, after: uuid.UUID, limit: int) -> list[tuple[uuid.UUID, bytes | None]]:
    """Return the next events of the history, with the bodies of those that contain coupons' metadata."""
    return [(row["id"], row["body"]) for row in await connection.fetch(READ_EVENTS, after, limit)]


async def erase_events(connection: Connection, bodies: Mapping[uuid.UUID, bytes]) -> None:
    """Write other bodies of events."""
    await connection.fetchval(ERASE_EVENTS, list(bodies), list(bodies.values()))


def _read(metadata: str | None) -> Any:
    return None if metadata is None else json.loads(metadata)
