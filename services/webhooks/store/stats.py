"""Statistics of an endpoint's deliveries and their attempts."""

import uuid
from datetime import datetime
from typing import Final

from services.webhooks.domain.stats import LOOKED_AT, Stats
from shared.database.pool import Connection
from shared.ids import earliest_id

_PERCENTILES: Final = (50, 95, 99)
# How many attempts of one delivery are counted; a schedule has no more than twenty.
_ATTEMPTS: Final = 50

# Ids contain the creation time, so the index finds the newest rows of a range; the attempts are looked up one by one.
# `store.delivery_lists` explains the bounds.
COUNT_DELIVERIES = """
WITH looked_at AS (
    SELECT id, status, created_at FROM deliveries
    WHERE (endpoint_id, id) >= ($1, $2) AND (endpoint_id, id) < ($1, $3)
    ORDER BY endpoint_id DESC, id DESC LIMIT $4
), leased AS MATERIALIZED (
    SELECT delivery_id FROM delivery_queue WHERE endpoint_id = $1 AND token IS NOT NULL AND visible_at > $5 LIMIT $4
), shown AS (
    SELECT id, created_at,
           CASE WHEN status <> 'pending' THEN status
                WHEN id IN (SELECT delivery_id FROM leased) THEN 'in_flight'
                WHEN (SELECT status = 'paused' AND listens_until IS NULL FROM endpoints WHERE id = $1) THEN 'paused'
                ELSE 'pending' END AS status
    FROM looked_at)
SELECT status, count(*) AS number, min(created_at) AS since, min(id::text)::uuid AS first
FROM shown GROUP BY status
"""
# The row without an answer has the percentiles of all attempts with a response.
SUM_ATTEMPTS = """
WITH attempt AS MATERIALIZED (
    SELECT a.status, a.duration_ms
    FROM (SELECT id FROM deliveries WHERE (endpoint_id, id) >= ($1, $2) AND (endpoint_id, id) < ($1, $3)
          ORDER BY endpoint_id DESC, id DESC LIMIT $5) AS d
    CROSS JOIN LATERAL (
        SELECT status, duration_ms FROM attempts WHERE delivery_id = d.id ORDER BY number DESC LIMIT $6) AS a
)
SELECT CASE WHEN status IS NULL THEN 'unanswered' ELSE status / 100 || 'xx' END AS answer, count(*) AS number,
       NULL::float8[] AS durations
FROM attempt GROUP BY 1
UNION ALL
SELECT NULL, count(*), percentile_cont($4::float8[]) WITHIN GROUP (ORDER BY duration_ms)
FROM attempt WHERE status IS NOT NULL
"""


async def sum_up(
    connection: Connection, endpoint_id: uuid.UUID, since: datetime, until: datetime, now: datetime
) -> Stats:
    """Return statistics of the newest deliveries in a time range."""
    first, end = earliest_id(since), earliest_id(until)
    rows = await connection.fetch(COUNT_DELIVERIES, endpoint_id, first, end, LOOKED_AT, now)
    deliveries = {row["status"]: row["number"] for row in rows}
    is_whole = sum(deliveries.values()) < LOOKED_AT
    if not is_whole:
        first, since = min(row["first"] for row in rows), min(row["since"] for row in rows)
    shares = [each / 100 for each in _PERCENTILES]
    span = (endpoint_id, first, end)
    attempts = {row["answer"]: row for row in await connection.fetch(SUM_ATTEMPTS, *span, shares, LOOKED_AT, _ATTEMPTS)}
    durations = attempts.pop(None)["durations"]
    return Stats(
        since,
        until,
        is_whole,
        deliveries,
        {answer: row["number"] for answer, row in attempts.items()},
        dict(zip(_PERCENTILES, durations or (), strict=False)),
    )
