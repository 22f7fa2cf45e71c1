"""Lists of an endpoint's attempts, those of its newest deliveries first; each looks at a bounded number of deliveries.

Tests are few among millions of deliveries, and found by an index of their own. A page can be short, or even empty,
without being the last.
"""

import uuid
from typing import Final

from services.webhooks.domain.deliveries import Trigger
from services.webhooks.domain.shown_deliveries import AttemptPage
from services.webhooks.store.deliveries import to_attempt
from services.webhooks.store.pages import SCANNED_PER_PAGE
from shared.database.pool import Connection
from shared.database.rows import Statement
from shared.known_ids import FIRST_ID, LAST_ID

LIST_ATTEMPTS = Statement("""
WITH scanned AS MATERIALIZED (
    (SELECT id, message_id FROM deliveries
     WHERE $trigger::text IS DISTINCT FROM 'test' AND (endpoint_id, id) <= ($endpoint_id, $before)
       AND (endpoint_id, id) >= ($endpoint_id, $first)
     ORDER BY endpoint_id DESC, id DESC LIMIT $scanned)
    UNION ALL
    (SELECT id, message_id FROM deliveries
     WHERE $trigger = 'test' AND event_type = 'test' AND (endpoint_id, id) <= ($endpoint_id, $before)
       AND (endpoint_id, id) >= ($endpoint_id, $first)
     ORDER BY endpoint_id DESC, id DESC LIMIT $scanned)
)
(SELECT s.id AS delivery_id, s.message_id, false AS is_mark, a.*
 FROM scanned s CROSS JOIN LATERAL (
     SELECT number, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms, ttfb_ms, remote_ip, request_headers,
            status, error_code, response_headers, response, next_attempt_at, redacted_at
     FROM attempts
     WHERE delivery_id = s.id AND ($trigger IS NULL OR trigger = $trigger)
       AND number < CASE WHEN s.id = $before THEN $before_number::int ELSE 2147483647 END
     ORDER BY number DESC LIMIT $limit) AS a
 ORDER BY s.id DESC, a.number DESC LIMIT $limit)
UNION ALL
(SELECT id, NULL, true, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
 FROM scanned WHERE (SELECT count(*) FROM scanned) = $scanned ORDER BY id LIMIT 1)
""")
_AFTER_ALL: Final = (LAST_ID, 2**31 - 1)


async def list_page(
    connection: Connection,
    endpoint_id: uuid.UUID,
    trigger: Trigger | None,
    before: tuple[uuid.UUID, int] | None,
    limit: int,
) -> AttemptPage:
    """Return up to `limit` attempts of an endpoint, the latest of the newest delivery first."""
    before_id, before_number = before or _AFTER_ALL
    rows = await connection.fetch(
        *LIST_ATTEMPTS(
            endpoint_id=endpoint_id,
            trigger=trigger,
            before=before_id,
            before_number=before_number,
            first=FIRST_ID,
            limit=limit + 1,
            scanned=SCANNED_PER_PAGE,
        )
    )
    found = [row for row in rows if not row["is_mark"]]
    last = found[limit - 1] if len(found) > limit else next((row for row in rows if row["is_mark"]), None)
    attempts = [to_attempt(row, row["delivery_id"], row["message_id"]) for row in found[:limit]]
    return AttemptPage(attempts, None if last is None else (last["delivery_id"], last["number"]))
