"""Dead letters of an owner's endpoints, page by page: the newest first for a list, the oldest first for a walk."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.shown_deliveries import DeadLetter, DeadLetterFilter, DeadLetterPage
from services.webhooks.store.deliveries import to_delivery
from services.webhooks.store.pages import (
    MOST_ENDPOINTS,
    SCANNED_PER_PAGE,
    SOURCES,
    cut,
    endpoint_choice,
)
from shared.database.filters import like_pattern
from shared.database.pool import Connection
from shared.database.rows import Statement
from shared.known_ids import FIRST_ID, LAST_ID

# Like the list of deliveries; dead letters of archived endpoints are only in the list of deliveries.
LIST_DEAD = Statement("""
WITH chosen AS MATERIALIZED (
    (SELECT id FROM endpoints
     WHERE $endpoint::uuid IS NOT NULL AND id = $endpoint AND program_id = $program
         AND ($partner::uuid IS NULL OR partner_id = $partner)
         AND ($with_archived OR archived_at IS NULL))
    UNION ALL
    (SELECT id FROM endpoints
     WHERE $endpoint::uuid IS NULL AND $partner::uuid IS NOT NULL AND owner_id = $partner AND program_id = $program
         LIMIT $most)
    UNION ALL
    (SELECT id FROM endpoints WHERE $endpoint::uuid IS NULL AND $partner::uuid IS NULL AND program_id = $program
     LIMIT $most)
), newest AS MATERIALIZED (
    SELECT c.id AS endpoint_id, n.delivery_id AS id
    FROM chosen c CROSS JOIN LATERAL (
        SELECT delivery_id FROM dead_letters
        WHERE (endpoint_id, delivery_id) < (c.id, $before) AND (endpoint_id, delivery_id) >= (c.id, $first)
        ORDER BY endpoint_id DESC, delivery_id DESC LIMIT 1) AS n
    WHERE (SELECT count(*) FROM chosen) < $most
    ORDER BY n.delivery_id DESC LIMIT $sources + 1
), source AS MATERIALIZED (
    SELECT endpoint_id FROM newest ORDER BY id DESC LIMIT $sources
), share AS MATERIALIZED (
    SELECT greatest($limit::bigint, $share::bigint / greatest(1, count(*))) AS size FROM source
), letter AS MATERIALIZED (
    SELECT l.endpoint_id, f.delivery_id, f.event_type, f.reason, f.died_at,
           f.place = (SELECT size FROM share) AS is_last
    FROM source l CROSS JOIN LATERAL (
        SELECT *, row_number() OVER (ORDER BY delivery_id DESC) AS place FROM (
            SELECT delivery_id, event_type, reason, died_at FROM dead_letters
            WHERE (endpoint_id, delivery_id) < (l.endpoint_id, $before)
                AND (endpoint_id, delivery_id) >= (l.endpoint_id, $first)
            ORDER BY endpoint_id DESC, delivery_id DESC LIMIT (SELECT size FROM share)) AS n) AS f
    UNION ALL
    SELECT endpoint_id, delivery_id, event_type, reason, died_at, place = greatest($limit::bigint, $scanned) FROM (
        SELECT *, row_number() OVER (ORDER BY delivery_id DESC) AS place FROM (
            SELECT endpoint_id, delivery_id, event_type, reason, died_at FROM dead_letters
            WHERE (SELECT count(*) FROM chosen) = $most AND delivery_id < $before AND delivery_id >= $first
            ORDER BY delivery_id DESC LIMIT greatest($limit::bigint, $scanned)) AS n) AS f
), floor AS MATERIALIZED (
    SELECT id FROM (
        SELECT delivery_id AS id FROM letter WHERE is_last
        UNION ALL
        (SELECT id FROM newest ORDER BY id DESC OFFSET $sources)) AS f
    ORDER BY id DESC LIMIT 1
), page AS (
    SELECT l.delivery_id, l.reason, l.died_at FROM letter l
    CROSS JOIN LATERAL (
        SELECT program_id, partner_id, archived_at FROM endpoints WHERE id = l.endpoint_id OFFSET 0) AS e
    WHERE e.program_id = $program AND ($partner::uuid IS NULL OR e.partner_id = $partner)
        AND ($with_archived OR e.archived_at IS NULL)
        AND l.delivery_id >= coalesce((SELECT id FROM floor), $first)
        AND ($type::text IS NULL OR l.event_type LIKE $type)
        AND ($since::timestamptz IS NULL OR l.died_at >= $since) AND ($reason::text IS NULL OR l.reason = $reason)
    ORDER BY l.delivery_id DESC LIMIT $limit
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.status, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, NULL::timestamptz AS next_attempt_at, p.reason, p.died_at,
       false AS is_mark
FROM page p CROSS JOIN LATERAL (
    SELECT id, endpoint_id, message_id, event_type, status, attempts_made, last_status, last_error_code, sequence,
           replay_id, created_at, completed_at
    FROM deliveries WHERE id = p.delivery_id OFFSET 0) AS d
UNION ALL
(SELECT l.delivery_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true
 FROM letter l JOIN floor f ON l.delivery_id >= f.id ORDER BY l.delivery_id LIMIT 1)
""")
# Like `LIST_DEAD`, from the oldest on.
WALK = Statement("""
WITH chosen AS MATERIALIZED (
    (SELECT id FROM endpoints
     WHERE $endpoint::uuid IS NOT NULL AND id = $endpoint AND program_id = $program
         AND ($partner::uuid IS NULL OR partner_id = $partner))
    UNION ALL
    (SELECT id FROM endpoints
     WHERE $endpoint::uuid IS NULL AND $partner::uuid IS NOT NULL AND owner_id = $partner AND program_id = $program
         LIMIT $most)
    UNION ALL
    (SELECT id FROM endpoints WHERE $endpoint::uuid IS NULL AND $partner::uuid IS NULL AND program_id = $program
     LIMIT $most)
), oldest AS MATERIALIZED (
    SELECT c.id AS endpoint_id, n.delivery_id AS id
    FROM chosen c CROSS JOIN LATERAL (
        SELECT delivery_id FROM dead_letters WHERE (endpoint_id, delivery_id) > (c.id, $after) AND endpoint_id <= c.id
        ORDER BY endpoint_id, delivery_id LIMIT 1) AS n
    WHERE (SELECT count(*) FROM chosen) < $most
    ORDER BY n.delivery_id LIMIT $sources + 1
), source AS MATERIALIZED (
    SELECT endpoint_id FROM oldest ORDER BY id LIMIT $sources
), share AS MATERIALIZED (
    SELECT $scanned::bigint / greatest(1, count(*)) AS size FROM source
), letter AS MATERIALIZED (
    SELECT l.endpoint_id, f.delivery_id, f.event_type, f.reason, f.died_at,
           f.place = (SELECT size FROM share) AS is_last
    FROM source l CROSS JOIN LATERAL (
        SELECT *, row_number() OVER (ORDER BY delivery_id) AS place FROM (
            SELECT delivery_id, event_type, reason, died_at FROM dead_letters
            WHERE (endpoint_id, delivery_id) > (l.endpoint_id, $after) AND endpoint_id <= l.endpoint_id
            ORDER BY endpoint_id, delivery_id LIMIT (SELECT size FROM share)) AS n) AS f
    UNION ALL
    SELECT endpoint_id, delivery_id, event_type, reason, died_at, place = greatest($limit::bigint, $scanned) FROM (
        SELECT *, row_number() OVER (ORDER BY delivery_id) AS place FROM (
            SELECT endpoint_id, delivery_id, event_type, reason, died_at FROM dead_letters
            WHERE (SELECT count(*) FROM chosen) = $most AND delivery_id > $after
            ORDER BY delivery_id LIMIT greatest($limit::bigint, $scanned)) AS n) AS f
), roof AS MATERIALIZED (
    SELECT id FROM (
        SELECT delivery_id AS id FROM letter WHERE is_last
        UNION ALL
        (SELECT id FROM oldest ORDER BY id OFFSET $sources)) AS f
    ORDER BY id LIMIT 1
)
(SELECT l.delivery_id AS id, false AS is_mark FROM letter l
 CROSS JOIN LATERAL (SELECT program_id, partner_id, archived_at FROM endpoints WHERE id = l.endpoint_id OFFSET 0) AS e
 WHERE e.program_id = $program AND ($partner::uuid IS NULL OR e.partner_id = $partner)
     AND ($with_archived OR e.archived_at IS NULL)
     AND l.delivery_id <= coalesce((SELECT id FROM roof), l.delivery_id)
     AND ($type::text IS NULL OR l.event_type LIKE $type)
     AND ($since::timestamptz IS NULL OR l.died_at >= $since) AND ($reason::text IS NULL OR l.reason = $reason)
 ORDER BY l.delivery_id LIMIT $limit)
UNION ALL
(SELECT l.delivery_id, true FROM letter l JOIN roof r ON l.delivery_id <= r.id ORDER BY l.delivery_id DESC LIMIT 1)
""")


async def list_page(
    connection: Connection, owner: Owner, chosen: DeadLetterFilter, before: uuid.UUID | None, limit: int
) -> DeadLetterPage:
    """Return dead letters of the owner's live endpoints, the newest deliveries first."""
    span = {"before": before or LAST_ID, "first": FIRST_ID}
    rows = await fetch_dead(connection, owner, chosen, span, limit + 1, with_archived=False)
    found, next_after = cut(rows, limit)
    return DeadLetterPage([DeadLetter(to_delivery(row), row["reason"], row["died_at"]) for row in found], next_after)


async def fetch_dead(
    connection: Connection,
    owner: Owner,
    chosen: DeadLetterFilter,
    span: Mapping[str, uuid.UUID],
    limit: int,
    *,
    with_archived: bool,
) -> list[Any]:
    """Return the rows of a list of dead letters, with its marker row."""
    is_whole = chosen.event_type is None and chosen.since is None and chosen.reason is None
    return await connection.fetch(
        *LIST_DEAD(
            **endpoint_choice(owner, chosen.endpoint_id),
            **span,
            type=like_pattern(chosen.event_type),
            since=chosen.since,
            reason=chosen.reason,
            limit=limit,
            share=0 if is_whole else SCANNED_PER_PAGE,
            most=MOST_ENDPOINTS + 1,
            sources=SOURCES,
            scanned=SCANNED_PER_PAGE,
            with_archived=with_archived,
        )
    )


@dataclass(frozen=True, slots=True)
class Slice:
    """The next dead letters of a walk, and the position of the next slice; None at the end."""

    ids: list[uuid.UUID]
    next_after: uuid.UUID | None


async def walk(
    connection: Connection,
    owner: Owner,
    chosen: DeadLetterFilter,
    after: uuid.UUID,
    limit: int,
    *,
    with_archived: bool,
) -> Slice:
    """Return up to `limit` matching dead letters of the owner's endpoints, the oldest first; there may be fewer."""
    rows = await connection.fetch(
        *WALK(
            **endpoint_choice(owner, chosen.endpoint_id),
            after=after,
            type=like_pattern(chosen.event_type),
            since=chosen.since,
            reason=chosen.reason,
            limit=limit,
            scanned=SCANNED_PER_PAGE,
            most=MOST_ENDPOINTS + 1,
            sources=SOURCES,
            with_archived=with_archived,
        )
    )
    ids = sorted(row["id"] for row in rows if not row["is_mark"])
    mark = next((row["id"] for row in rows if row["is_mark"]), None)
    return Slice(ids, ids[-1] if len(ids) == limit else mark)
