"""Turns within an endpoint's limit per second that are taken one by one; claims take theirs in `claims`."""

import uuid
from datetime import datetime, timedelta
from typing import NamedTuple

from services.webhooks.domain.pacing import Spans
from shared.database.pool import Connection

MAKE_RATE = """
INSERT INTO endpoint_rates (endpoint_id)
SELECT id FROM endpoints WHERE id = $1 AND rate_limit_per_second IS NOT NULL
ON CONFLICT (endpoint_id) DO NOTHING
"""
# The database's clock counts, for all processes.
LOCK_RATE = """
SELECT r.span_ends, r.span_counts, e.rate_limit_per_second AS rate, clock_timestamp() AS now
FROM endpoint_rates r JOIN endpoints e ON e.id = r.endpoint_id
WHERE r.endpoint_id = $1 AND e.rate_limit_per_second IS NOT NULL
FOR UPDATE OF r
"""
WRITE_SPANS = "UPDATE endpoint_rates SET span_ends = $2, span_counts = $3 WHERE endpoint_id = $1"


class Paced(NamedTuple):
    """What is used of an endpoint's limit, by the database's clock."""

    spans: Spans
    rate: int
    now: datetime


async def lock(connection: Connection, endpoint_id: uuid.UUID) -> Paced | None:
    """Lock and return what is used of a limit; None if there is no limit."""
    await connection.execute(MAKE_RATE, endpoint_id)
    row = await connection.fetchrow(LOCK_RATE, endpoint_id)
    if row is None:
        return None
    return Paced(list(zip(row["span_ends"], row["span_counts"], strict=True)), row["rate"], row["now"])


async def spend(connection: Connection, endpoint_id: uuid.UUID, paced: Paced, ends_at: datetime) -> None:
    """Use one more, in a span that ends at a time; spans that no longer count are dropped."""
    kept = [(ends, count) for ends, count in paced.spans if ends > paced.now - timedelta(seconds=1)]
    kept.append((ends_at, 1))
    await connection.execute(WRITE_SPANS, endpoint_id, [ends for ends, _ in kept], [count for _, count in kept])
