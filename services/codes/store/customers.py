"""The customers for whom codes are made: found, shown and replaced, in codes, in the audit log and in jobs."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from shared.database.pool import Connection

# The two halves fit the two partial indexes.
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
ERASE_CODES = """
UPDATE promotion_codes c SET customer_id = n.customer_id, customer_name = NULL, metadata = n.metadata
FROM unnest($1::uuid[], $2::text[], $3::jsonb[]) AS n (id, customer_id, metadata)
WHERE c.id = ANY ($1::uuid[]) AND c.id = n.id
"""
SHOW_CODES = "SELECT to_jsonb(c) AS shown FROM promotion_codes c WHERE c.id = ANY ($1::uuid[]) ORDER BY c.id"
# A slice of the log: which of its entries may name a customer, and whether those with a name alone are about this one,
# whose the code was at that time.
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
ERASE_JOB = "UPDATE jobs SET spec = $2 WHERE id = $1"


async def find_codes(
    connection: Connection, program_id: uuid.UUID, customer_ids: Sequence[str], after: uuid.UUID, limit: int
) -> list[uuid.UUID]:
    """Return the next codes that were made for a customer, archived ones among them."""
    return [row["id"] for row in await connection.fetch(FIND_CODES, program_id, customer_ids, after, limit)]


async def lock_codes(connection: Connection, ids: Sequence[uuid.UUID]) -> list[tuple[uuid.UUID, str | None, Any]]:
    """Return the customers of codes and what is noted about these, and keep others from changing them."""
    rows = await connection.fetch(LOCK_CODES, ids)
    return [(row["id"], row["customer_id"], json.loads(row["metadata"])) for row in rows]


async def erase_codes(connection: Connection, codes: Sequence[tuple[uuid.UUID, str | None, Any]]) -> None:
    """Write codes with other customers, and without their names."""
    columns = zip(*((id_, customer, json.dumps(metadata)) for id_, customer, metadata in codes), strict=True)
    await connection.execute(ERASE_CODES, *(list(column) for column in columns))


async def show_codes(connection: Connection, ids: Sequence[uuid.UUID]) -> list[Any]:
    """Return codes as they are."""
    return [json.loads(row["shown"]) for row in await connection.fetch(SHOW_CODES, ids)]


async def read_log(
    connection: Connection, program_id: uuid.UUID, after: uuid.UUID, limit: int, customer_ids: Sequence[str]
) -> list[tuple[uuid.UUID, Any, bool]]:
    """Return the next entries of a program's log: id, changes that may name a customer, and whether they are theirs."""
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
    """Return the next jobs of a program, each with what it was asked for."""
    rows = await connection.fetch(READ_JOBS, program_id, after, limit)
    return [(row["id"], json.loads(row["spec"])) for row in rows]


async def erase_job(connection: Connection, job_id: uuid.UUID, spec: Any) -> None:
    """Write a job with another customer."""
    await connection.execute(ERASE_JOB, job_id, json.dumps(spec))
