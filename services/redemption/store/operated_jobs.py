"""Exports and erasures of customers of all programs, as operators see jobs; whom they are about is not read."""

import uuid

from shared.database.job_pages import job_page, scanned_for
from shared.database.pool import Connection
from shared.database.rows import Statement
from shared.events.operating import JobPage
from shared.known_ids import LAST_ID

LIST_OPERATED = Statement("""
WITH scanned AS MATERIALIZED (
    SELECT id, program_id, kind, state, actor, NULL::bigint AS requested, NULL::bigint AS processed, NULL::text
           AS failure, created_at, created_at AS started_at, finished_at
    FROM customer_jobs WHERE id < $before ORDER BY id DESC LIMIT $scanned
), chosen AS (
    SELECT * FROM scanned WHERE $is_finished::boolean IS NULL OR (finished_at IS NOT NULL) = $is_finished
    ORDER BY id DESC LIMIT $limit
)
SELECT id, program_id, kind, state, actor, requested, processed, failure, created_at, started_at, finished_at,
       false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true
FROM scanned HAVING count(*) = $scanned
""")


async def list_all(connection: Connection, after: uuid.UUID | None, limit: int, is_finished: bool | None) -> JobPage:
    """Read up to `limit` jobs of all programs, newest first, older than `after`; a filtered page may be short."""
    rows = await connection.fetch(
        *LIST_OPERATED(
            before=after or LAST_ID, scanned=scanned_for(limit, is_finished), is_finished=is_finished, limit=limit + 1
        )
    )
    return job_page(rows, limit)
