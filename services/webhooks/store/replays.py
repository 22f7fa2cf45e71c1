"""Replays: the jobs with their leases, and the pages of deliveries that they make due again."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.replays import Replay, ReplayPage, ReplayProgress, Step
from shared.database.filters import like_any
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import LAST_ID

# How many deliveries of one replay are counted; those of a page share it equally.
COUNTED: Final = 10_000
SCANNED_PER_PAGE: Final = 1_000
SCANNED_PER_STEP: Final = 2_000

INSERT_REPLAY = Statement("""
INSERT INTO replays (id, program_id, partner_id, endpoint_id, which, event_types, since, until, is_dry_run,
                     rate_per_second, created_at)
VALUES ($id, $program_id, $partner_id, $endpoint_id, $which, $event_types, $since, $until, $is_dry_run,
        $rate_per_second, $created_at)
""")
COUNT_LIVE = """
SELECT count(*) FROM replays
WHERE program_id = $1 AND partner_id IS NOT DISTINCT FROM $2 AND status IN ('pending', 'running')
"""
# Counts this many deliveries of a replay, so that a page is quick.
READ_REPLAYS = """
SELECT r.id, r.program_id, r.partner_id, r.endpoint_id, r.which, r.event_types, r.since, r.until, r.is_dry_run,
       r.rate_per_second, r.status, r.matched, r.enqueued, r.skipped, r.position_at, r.position_id, r.token,
       r.created_at, r.started_at, r.completed_at, c.succeeded, c.dead, c.waiting, c.counted < $4 AS is_whole
FROM replays r
CROSS JOIN LATERAL (
    SELECT count(*) AS counted, count(*) FILTER (WHERE d.status = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE d.status = 'dead') AS dead,
           count(*) FILTER (WHERE d.status = 'pending') AS waiting
    FROM (SELECT status FROM deliveries WHERE replay_id = r.id AND replay_id IS NOT NULL LIMIT $4) AS d) AS c
WHERE r.id = ANY ($3::uuid[]) AND r.program_id = $1 AND ($2::uuid IS NULL OR r.partner_id = $2)
ORDER BY r.id DESC
"""
LIST_REPLAYS = """
WITH scanned AS MATERIALIZED (
    SELECT id, partner_id, endpoint_id FROM replays WHERE (program_id, id) < ($1, $4) AND program_id >= $1
    ORDER BY program_id DESC, id DESC LIMIT $6
), chosen AS (
    SELECT id FROM scanned
    WHERE ($2::uuid IS NULL OR partner_id = $2) AND ($3::uuid IS NULL OR endpoint_id = $3)
    ORDER BY id DESC LIMIT $5
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING count(*) = $6
"""
CANCEL_REPLAY = """
UPDATE replays SET status = 'canceled', completed_at = $4, token = NULL, leased_until = NULL
WHERE id = $1 AND program_id = $2 AND ($3::uuid IS NULL OR partner_id = $3) AND status IN ('pending', 'running')
RETURNING id
"""
# While the pending deliveries of a disabled endpoint become dead letters, a replay would find only some of them.
CLAIM_REPLAY = """
UPDATE replays SET status = 'running', token = $1, leased_until = $2, started_at = coalesce(started_at, $3)
WHERE id = (
    SELECT id FROM replays
    WHERE status IN ('pending', 'running') AND (leased_until IS NULL OR leased_until <= $3)
        AND NOT EXISTS (SELECT 1 FROM endpoints e
                        WHERE e.id = replays.endpoint_id AND e.is_closing AND e.status = 'disabled')
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, program_id, partner_id, endpoint_id, which, event_types, since, until, is_dry_run, rate_per_second,
          status, matched, enqueued, skipped, position_at, position_id, token, created_at, started_at, completed_at
"""
# Locks the replay for the step: a request that cancels it, or a worker that takes it over, waits until the step is
# written.
LOCK_REPLAY = """
SELECT id, program_id, partner_id, endpoint_id, which, event_types, since, until, is_dry_run, rate_per_second,
       status, matched, enqueued, skipped, position_at, position_id, token, created_at, started_at, completed_at
FROM replays WHERE id = $1 AND token = $2 AND status = 'running' FOR UPDATE
"""
ADVANCE_REPLAY = Statement("""
UPDATE replays
SET matched = matched + $matched, enqueued = enqueued + $enqueued, skipped = skipped + $skipped,
    position_at = $position_at, position_id = $position_id,
    leased_until = $leased_until
WHERE id = $id
""")
FINISH_REPLAY = Statement("""
UPDATE replays
SET status = $status, matched = matched + $matched, enqueued = enqueued + $enqueued, skipped = skipped + $skipped,
    completed_at = $now,
    token = NULL, leased_until = NULL
WHERE id = $id
""")
# A step looks at a bounded number of rows, whatever the types exclude; the last row, a marker, says how far it got.
DEAD_PAGE = """
WITH scanned AS MATERIALIZED (
    SELECT delivery_id AS id, event_type FROM dead_letters
    WHERE (endpoint_id, delivery_id) > ($1, $2) AND (endpoint_id, delivery_id) < ($1, $3)
    ORDER BY endpoint_id, delivery_id LIMIT $6
), page AS (
    SELECT id FROM scanned WHERE $4::text[] IS NULL OR event_type LIKE ANY($4) ORDER BY id LIMIT $5
)
SELECT d.id, d.message_id, d.format, false AS is_mark
FROM page p CROSS JOIN LATERAL (SELECT id, message_id, format FROM deliveries WHERE id = p.id OFFSET 0) AS d
UNION ALL
SELECT (array_agg(id ORDER BY id DESC))[1], NULL, NULL, true FROM scanned HAVING count(*) = $6
"""
ALL_PAGE = """
WITH scanned AS MATERIALIZED (
    SELECT id, message_id, format, event_type, status FROM deliveries
    WHERE (endpoint_id, id) > ($1, $2) AND (endpoint_id, id) < ($1, $3)
    ORDER BY endpoint_id, id LIMIT $6
), page AS (
    SELECT id, message_id, format FROM scanned
    WHERE status <> 'pending' AND event_type <> 'test' AND ($4::text[] IS NULL OR event_type LIKE ANY($4))
    ORDER BY id LIMIT $5
)
SELECT id, message_id, format, false AS is_mark FROM page
UNION ALL
SELECT (array_agg(id ORDER BY id DESC))[1], NULL, NULL, true FROM scanned HAVING count(*) = $6
"""
# Shared locks: a redaction that has started is waited for, a later one finds the deliveries made due here.
WHOLE_MESSAGES = Statement("""
SELECT m.id, m.format FROM messages m
JOIN @p(id uuid, format text) ON p.id = m.id AND p.format = m.format
WHERE m.body IS NOT NULL
ORDER BY m.id FOR SHARE OF m
""")
# The second of two finds the delivery pending, and nothing to revive.
REVIVE_PAGE = """
WITH letter AS (
    DELETE FROM dead_letters WHERE delivery_id = ANY($1::uuid[]) RETURNING delivery_id, ordering_key, position
), revived AS (
    UPDATE deliveries SET status = 'pending', completed_at = NULL, replay_id = coalesce($2, replay_id)
    WHERE id = ANY($1::uuid[]) AND status <> 'pending'
    RETURNING id, endpoint_id, message_id, format, event_type, sequence
)
INSERT INTO delivery_queue (delivery_id, endpoint_id, message_id, format, event_type, trigger, step, visible_at,
                            ends_at, token, sequence, ordering_key, position)
SELECT r.id, r.endpoint_id, r.message_id, r.format, r.event_type, 'replay', 1,
       CASE WHEN l.ordering_key IS NULL THEN $3::timestamptz ELSE 'infinity' END, $4, NULL, r.sequence,
       l.ordering_key, l.position
FROM revived r LEFT JOIN letter l ON l.delivery_id = r.id
RETURNING delivery_id
"""
# How far one step looks: this many messages of the program, whether or not any delivery is missing.
SLICE_END = """
SELECT created_at, id FROM (
    SELECT created_at, id FROM messages
    WHERE program_id = $1 AND created_at >= $2 AND created_at < $3 AND (created_at, id) > ($2, $4)
    ORDER BY created_at, id LIMIT $5) AS slice
ORDER BY created_at DESC, id DESC LIMIT 1
"""
# Before there were lists of visible members, a flat body was shared by the program and its partner.
MISSING_IN_SLICE = Statement("""
SELECT m.id, m.created_at, m.format, m.event_type
FROM messages m
WHERE m.program_id = $program_id AND m.created_at >= $since AND m.created_at <= $until
    AND (m.created_at, m.id) > ($since, $since_id) AND (m.created_at, m.id) <= ($until, $until_id)
    AND (m.format = $format OR ($format = 'flat-program' AND m.format = 'flat' AND m.lists_version IS NULL
                           AND NOT EXISTS (SELECT 1 FROM messages p WHERE p.id = m.id AND p.format = 'flat-program')))
    AND ($partner_id::uuid IS NULL OR m.partner_id = $partner_id) AND m.body IS NOT NULL
    AND m.event_type NOT LIKE 'webhook.%' AND m.event_type <> 'test'
    AND ($subscribed::text[] IS NULL OR m.event_type LIKE ANY($subscribed))
    AND ($types::text[] IS NULL OR m.event_type LIKE ANY($types))
    AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.endpoint_id = $endpoint_id)
ORDER BY m.created_at, m.id LIMIT $limit
""")
INSERT_MISSING = Statement("""
WITH delivery AS (
    INSERT INTO deliveries (id, endpoint_id, message_id, format, event_type, replay_id, created_at, sequence,
                            code_key)
    SELECT w.id, $endpoint_id, w.message_id, w.format, w.event_type, $replay_id, $now, m.sequence, m.code_key
    FROM @w(id uuid, message_id uuid, format text, event_type text)
    LEFT JOIN messages m ON m.id = w.message_id AND m.format = w.format
    ON CONFLICT (message_id, endpoint_id) DO NOTHING
    RETURNING id, endpoint_id, message_id, format, event_type, sequence
)
INSERT INTO delivery_queue (delivery_id, endpoint_id, message_id, format, event_type, trigger, step, visible_at,
                            ends_at, token, sequence)
SELECT id, endpoint_id, message_id, format, event_type, 'replay', 1, $now, $ends_at, NULL, sequence FROM delivery
RETURNING delivery_id
""")


async def insert(connection: Connection, replay: Replay) -> None:
    """Write a new replay."""
    await connection.execute(*INSERT_REPLAY(**_INSERTED.of(replay)))


async def count_live(connection: Connection, program_id: uuid.UUID, partner_id: uuid.UUID | None) -> int:
    """Return how many replays for endpoints of a partner, or of the program itself, have not finished."""
    count: int = await connection.fetchval(COUNT_LIVE, program_id, partner_id)
    return count


async def find(connection: Connection, owner: Owner, replay_id: uuid.UUID) -> ReplayProgress | None:
    """Return one replay of the owner."""
    rows = await connection.fetch(READ_REPLAYS, owner.program_id, owner.partner_id, [replay_id], COUNTED)
    return _progress(rows[0]) if rows else None


async def list_page(
    connection: Connection, owner: Owner, endpoint_id: uuid.UUID | None, before: uuid.UUID | None, limit: int
) -> ReplayPage:
    """Return up to `limit` replays of the owner, the newest first."""
    is_all = owner.partner_id is None and endpoint_id is None
    bound = limit + 1 if is_all else max(SCANNED_PER_PAGE, limit + 1)
    whose = (owner.program_id, owner.partner_id)
    listed = await connection.fetch(LIST_REPLAYS, *whose, endpoint_id, before or LAST_ID, limit + 1, bound)
    ids = sorted((row["id"] for row in listed if not row["is_mark"]), reverse=True)
    mark = next((row["id"] for row in listed if row["is_mark"]), None)
    rows = await connection.fetch(READ_REPLAYS, *whose, ids[:limit], COUNTED // limit)
    return ReplayPage([_progress(row) for row in rows], ids[limit - 1] if len(ids) > limit else mark)


async def cancel(connection: Connection, owner: Owner, replay_id: uuid.UUID, now: datetime) -> bool:
    """Cancel a replay; False if it has finished, or is not the owner's."""
    found = await connection.fetchval(CANCEL_REPLAY, replay_id, owner.program_id, owner.partner_id, now)
    return found is not None


async def claim(connection: Connection, token: int, leased_until: datetime, now: datetime) -> Replay | None:
    """Lease the oldest replay that no worker holds."""
    row = await connection.fetchrow(CLAIM_REPLAY, token, leased_until, now)
    return None if row is None else _REPLAY(row)


async def lock(connection: Connection, replay_id: uuid.UUID, token: int) -> Replay | None:
    """Lock and return the replay; None if it was canceled or taken over."""
    row = await connection.fetchrow(LOCK_REPLAY, replay_id, token)
    return None if row is None else _REPLAY(row)


async def advance(connection: Connection, replay_id: uuid.UUID, step: Step, leased_until: datetime) -> None:
    """Write the result of a step and the position of the next one."""
    at, id_ = step.position or (None, None)
    position = {"position_at": at, "position_id": id_, "leased_until": leased_until}
    await connection.execute(*ADVANCE_REPLAY(id=replay_id, **position, **_DONE.of(step)))


async def finish(connection: Connection, replay_id: uuid.UUID, status: str, step: Step, now: datetime) -> None:
    """Write the last step, and finish."""
    await connection.execute(*FINISH_REPLAY(id=replay_id, status=status, now=now, **_DONE.of(step)))


async def page(
    connection: Connection, replay: Replay, after: uuid.UUID, before: uuid.UUID
) -> tuple[list[tuple[uuid.UUID, uuid.UUID, str]], uuid.UUID | None]:
    """Return the next matching deliveries in order, as id, message and form of the message; there may be few.

    Also returns the id to continue after; None at the end.
    """
    chosen = (replay.endpoint_id, after, before, like_any(replay.event_types), replay.step_size, SCANNED_PER_STEP)
    if replay.which == "failed":
        rows = await connection.fetch(DEAD_PAGE, *chosen)
    else:
        rows = await connection.fetch(ALL_PAGE, *chosen)
    found = sorted((row["id"], row["message_id"], row["format"]) for row in rows if not row["is_mark"])
    if len(found) == replay.step_size:
        return found, found[-1][0]
    return found, next((row["id"] for row in rows if row["is_mark"]), None)


async def whole(connection: Connection, messages: Sequence[tuple[uuid.UUID, str]]) -> set[tuple[uuid.UUID, str]]:
    """Return those messages whose content is stored, and keep it stored until the transaction ends."""
    columns = {"id": [id_ for id_, _ in messages], "format": [format_ for _, format_ in messages]}
    rows = await connection.fetch(*WHOLE_MESSAGES(p=columns))
    return {(row["id"], row["format"]) for row in rows}


async def revive(
    connection: Connection,
    delivery_ids: Sequence[uuid.UUID],
    replay_id: uuid.UUID | None,
    now: datetime,
    ends_at: datetime,
) -> list[uuid.UUID]:
    """Make deliveries due again with a new schedule; return those that were not already pending."""
    rows = await connection.fetch(REVIVE_PAGE, delivery_ids, replay_id, now, ends_at)
    return [row["delivery_id"] for row in rows]


async def slice_end(
    connection: Connection, replay: Replay, after: tuple[datetime, uuid.UUID], limit: int
) -> tuple[datetime, uuid.UUID] | None:
    """Return the last of the next `limit` messages of the program; None if there is none."""
    row = await connection.fetchrow(SLICE_END, replay.program_id, after[0], replay.until, after[1], limit)
    return None if row is None else (row["created_at"], row["id"])


async def missing(
    connection: Connection,
    replay: Replay,
    after: tuple[datetime, uuid.UUID],
    until: tuple[datetime, uuid.UUID],
    form: str,
    subscribed: Sequence[str] | None,
) -> list[tuple[uuid.UUID, datetime, str, str]]:
    """Return messages in a form that were never sent to the endpoint: id, time, form, event type."""
    span = {"since": after[0], "since_id": after[1], "until": until[0], "until_id": until[1]}
    wanted = {"format": form, "subscribed": like_any(subscribed), "types": like_any(replay.event_types)}
    whose = {name: getattr(replay, name) for name in ("program_id", "partner_id", "endpoint_id")}
    rows = await connection.fetch(*MISSING_IN_SLICE(**whose, **span, **wanted, limit=replay.step_size))
    return [(row["id"], row["created_at"], row["format"], row["event_type"]) for row in rows]


async def insert_missing(
    connection: Connection,
    endpoint_id: uuid.UUID,
    replay_id: uuid.UUID | None,
    deliveries: Sequence[tuple[uuid.UUID, uuid.UUID, str, str]],
    now: datetime,
    ends_at: datetime,
) -> list[uuid.UUID]:
    """Create deliveries of messages: id, message, form, event type; return those that are new."""
    columns = {
        "id": [d[0] for d in deliveries],
        "message_id": [d[1] for d in deliveries],
        "format": [d[2] for d in deliveries],
        "event_type": [d[3] for d in deliveries],
    }
    which = {"endpoint_id": endpoint_id, "replay_id": replay_id}
    rows = await connection.fetch(*INSERT_MISSING(w=columns, **which, now=now, ends_at=ends_at))
    return [row["delivery_id"] for row in rows]


def _progress(row: Any) -> ReplayProgress:
    return _PROGRESS(row, replay=_REPLAY(row))


_REPLAY: Final = Rows(Replay, event_types=tuple)
_PROGRESS: Final = Rows(ReplayProgress, "replay")
_INSERTED: Final = Values(INSERT_REPLAY.names, Replay)
_DONE: Final = Values(("matched", "enqueued", "skipped"), Step)
