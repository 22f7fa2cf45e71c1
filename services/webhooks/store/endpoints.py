"""Endpoints, and what the sender has to know about them."""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from services.webhooks.domain.endpoints import Census, Endpoint, EndpointPage, EndpointState, Owner, Resumed, ShownAuth
from services.webhooks.domain.errors import UIDTaken
from services.webhooks.domain.event_types import choices_with
from services.webhooks.domain.headers import Auth
from services.webhooks.store.certificates import to_certificate, to_certificates
from services.webhooks.store.sealed import auth_place
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.database.seal_forms import sealed
from shared.database.sealing import Seal
from shared.known_ids import LAST_ID

SCANNED_PER_PAGE: Final = 1_000
# Every process counts every few seconds.
MOST_COUNTED: Final = 20_000

INSERT_ENDPOINT = Statement("""
INSERT INTO endpoints (id, program_id, partner_id, url, event_types, format, signing, description, metadata, headers,
                       auth, sealed_auth, status, disabled_reason, timeout_seconds, max_in_flight,
                       rate_limit_per_second, schedule, ordering, on_exhausted, listens_until, created_at, updated_at,
                       uid)
VALUES ($id, $program_id, $partner_id, $url, $event_types, $format, $signing, $description, $metadata, $headers,
        $auth, $sealed_auth, $status, $disabled_reason, $timeout_seconds, $max_in_flight, $rate_limit_per_second,
        $schedule, $ordering, $on_exhausted, $listens_until, $created_at, $created_at, $uid)
""")
FIND_ENDPOINT = """
SELECT id, program_id, partner_id, uid, url, event_types, format, signing, description, metadata, headers, auth, status,
       disabled_reason, paused_until, timeout_seconds, max_in_flight, rate_limit_per_second, schedule, ordering,
       on_exhausted, resume_at, breaker, failing_since, last_success_at, last_failure_at, listens_until, version,
       created_at, updated_at, client_certificate, ca_certificates AS ca_bundle
FROM endpoints
WHERE id = $1 AND program_id = $2 AND ($3::uuid IS NULL OR partner_id = $3) AND archived_at IS NULL
    AND (listens_until IS NULL) = NOT $4
"""
LOCK_ENDPOINT = """
SELECT id, program_id, partner_id, uid, url, event_types, format, signing, description, metadata, headers, auth, status,
       disabled_reason, paused_until, timeout_seconds, max_in_flight, rate_limit_per_second, schedule, ordering,
       on_exhausted, resume_at, breaker, failing_since, last_success_at, last_failure_at, listens_until, version,
       created_at, updated_at, client_certificate, ca_certificates AS ca_bundle
FROM endpoints
WHERE id = $1 AND program_id = $2 AND ($3::uuid IS NULL OR partner_id = $3) AND archived_at IS NULL
    AND (listens_until IS NULL) = NOT $4
FOR NO KEY UPDATE
"""
READ_ENDPOINTS = """
SELECT id, program_id, partner_id, uid, url, event_types, format, signing, description, metadata, headers, auth, status,
       disabled_reason, paused_until, timeout_seconds, max_in_flight, rate_limit_per_second, schedule, ordering,
       on_exhausted, resume_at, breaker, failing_since, last_success_at, last_failure_at, listens_until, version,
       created_at, updated_at, client_certificate, ca_certificates AS ca_bundle
FROM endpoints WHERE id = ANY ($1::uuid[]) ORDER BY id DESC
"""
# A partner has few; those of a program are searched a bounded number at a time. The last row, a marker, says whether
# there may be more.
LIST_ENDPOINTS = Statement("""
WITH scanned AS MATERIALIZED (
    (SELECT id, status, event_types, uid, listens_until FROM (
        SELECT id, status, event_types, uid, listens_until FROM endpoints
        WHERE $partner::uuid IS NOT NULL AND owner_id = $partner AND program_id = $program
            AND archived_at IS NULL OFFSET 0) AS own
     WHERE id < $before)
    UNION ALL
    (SELECT id, status, event_types, uid, listens_until FROM endpoints
     WHERE $partner::uuid IS NULL AND (program_id, id) < ($program, $before) AND program_id >= $program
         AND archived_at IS NULL
     ORDER BY program_id DESC, id DESC LIMIT $scanned)
), chosen AS (
    SELECT id FROM scanned
    WHERE listens_until IS NULL AND ($status::text IS NULL OR status = $status)
        AND ($types::text[] IS NULL OR event_types && $types)
        AND ($uid::text IS NULL OR uid = $uid)
    ORDER BY id DESC LIMIT $limit
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING $partner::uuid IS NULL AND count(*) = $scanned
""")
COUNT_ENDPOINTS = "SELECT count(*) FROM endpoints WHERE owner_id = $1 AND archived_at IS NULL"
UPDATE_ENDPOINT = Statement("""
UPDATE endpoints
SET url = $url, event_types = $event_types, format = $format, signing = $signing, description = $description,
    metadata = $metadata, headers = $headers, status = $status,
    disabled_reason = $disabled_reason, paused_until = $paused_until, timeout_seconds = $timeout_seconds,
    max_in_flight = $max_in_flight, rate_limit_per_second = $rate_limit_per_second,
    schedule = $schedule, ordering = $ordering, on_exhausted = $on_exhausted, resume_at = $resume_at,
    version = version + 1, updated_at = $updated_at,
    uid = $uid, is_closing = $status = 'disabled'
WHERE id = $id
RETURNING version
""")
SET_AUTH = "UPDATE endpoints SET auth = $2, sealed_auth = $3 WHERE id = $1"
# A new start: what was found about the receiver before no longer counts. A disabled endpoint is probed with one
# delivery first.
RESET_HEALTH = """
UPDATE endpoints
SET breaker = CASE WHEN status = 'disabled' THEN 'half_open' ELSE 'closed' END,
    breaker_trips = CASE WHEN status = 'disabled' THEN 1 ELSE 0 END,
    failing_since = NULL, warned_level = 0, resume_at = NULL
WHERE id = $1
"""
RESUME_PAUSED = """
UPDATE endpoints
SET status = 'active', paused_until = NULL, resume_at = NULL, version = version + 1, updated_at = $1
WHERE id = ANY (ARRAY(
    SELECT id FROM endpoints
    WHERE paused_until IS NOT NULL AND paused_until <= $1 AND status = 'paused' AND archived_at IS NULL
        AND listens_until IS NULL
    ORDER BY paused_until LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED))
RETURNING id, program_id, partner_id, uid
"""
ARCHIVE_ENDPOINT = """
UPDATE endpoints SET archived_at = $2, updated_at = $2, version = version + 1, is_closing = false
WHERE id = $1
RETURNING version
"""
# An endpoint rests because its receiver asked for it, or because it failed too often; if both apply, it failed.
COUNT_LIVE = """
SELECT CASE WHEN status = 'active' AND resume_at > $1 THEN 'resting' ELSE status END AS state, breaker,
       CASE WHEN status = 'disabled' THEN 'disabled_' || disabled_reason
            WHEN status = 'paused' THEN 'owner'
            WHEN secret_unreadable_since IS NOT NULL THEN 'secret_unreadable'
            WHEN resume_at > $1 AND breaker_trips > 0 THEN 'breaker'
            WHEN resume_at > $1 THEN 'retry_after' END AS pause,
       CASE WHEN certificate_expires_at <= $1 THEN 'expired'
            WHEN certificate_expires_at <= $1 + interval '1 day' THEN '1_day'
            WHEN certificate_expires_at <= $1 + interval '7 days' THEN '7_days'
            WHEN certificate_expires_at <= $1 + interval '30 days' THEN '30_days' END AS certificate,
       count(*)
FROM (SELECT status, resume_at, breaker, disabled_reason, breaker_trips, listens_until, secret_unreadable_since,
             certificate_expires_at
      FROM endpoints WHERE archived_at IS NULL ORDER BY program_id, id LIMIT $2) AS live
WHERE listens_until IS NULL GROUP BY 1, 2, 3, 4
"""
FIND_STATES = """
SELECT id AS endpoint_id, version, resume_at, failing_since IS NOT NULL AS is_failing
FROM endpoints WHERE id = ANY($1::uuid[])
"""


async def insert(connection: Connection, endpoint: Endpoint, auth: Auth | None, seal: Seal) -> None:
    """Write a new endpoint with its sealed credentials. Raises UIDTaken."""
    with _translated():
        auth_columns = await _auth_columns(connection, endpoint, auth, seal)
        await connection.execute(*INSERT_ENDPOINT(**_INSERTED.of(endpoint), **auth_columns))


async def find(
    connection: Connection, owner: Owner, endpoint_id: uuid.UUID, *, is_listener: bool = False
) -> Endpoint | None:
    """Return a live endpoint or listener of the program, or of the partner if one asks."""
    row = await connection.fetchrow(FIND_ENDPOINT, endpoint_id, owner.program_id, owner.partner_id, is_listener)
    return None if row is None else to_endpoint(row)


async def lock(
    connection: Connection, owner: Owner, endpoint_id: uuid.UUID, *, is_listener: bool = False
) -> Endpoint | None:
    """Like `find`, and lock it until the transaction ends."""
    row = await connection.fetchrow(LOCK_ENDPOINT, endpoint_id, owner.program_id, owner.partner_id, is_listener)
    return None if row is None else to_endpoint(row)


async def list_page(
    connection: Connection,
    owner: Owner,
    *,
    status: str | None,
    event_type: str | None,
    uid: str | None,
    before: uuid.UUID | None,
    limit: int,
) -> EndpointPage:
    """Return up to `limit` live endpoints, the newest first; with `event_type`, those that subscribe to it."""
    is_all = status is None and event_type is None and uid is None
    bound = limit + 1 if is_all else max(SCANNED_PER_PAGE, limit + 1)
    listed = await connection.fetch(
        *LIST_ENDPOINTS(
            program=owner.program_id,
            partner=owner.partner_id,
            status=status,
            before=before or LAST_ID,
            limit=limit + 1,
            types=None if event_type is None else list(choices_with(event_type)),
            uid=uid,
            scanned=bound,
        )
    )
    ids = sorted((row["id"] for row in listed if not row["is_mark"]), reverse=True)
    mark = next((row["id"] for row in listed if row["is_mark"]), None)
    found = [to_endpoint(row) for row in await connection.fetch(READ_ENDPOINTS, ids[:limit])]
    return EndpointPage(found, ids[limit - 1] if len(ids) > limit else mark)


async def count(connection: Connection, owner_id: uuid.UUID) -> int:
    """Return the number of live endpoints that a program or a partner owns."""
    number: int = await connection.fetchval(COUNT_ENDPOINTS, owner_id)
    return number


async def update(connection: Connection, endpoint: Endpoint) -> int:
    """Write the changeable members and return the new version. Raises UIDTaken."""
    with _translated():
        version: int = await connection.fetchval(*UPDATE_ENDPOINT(**_UPDATED.of(endpoint)))
    return version


async def set_auth(connection: Connection, endpoint: Endpoint, auth: Auth | None, seal: Seal) -> None:
    """Write the credentials for a receiver."""
    columns = await _auth_columns(connection, endpoint, auth, seal)
    await connection.execute(SET_AUTH, endpoint.id, columns["auth"], columns["sealed_auth"])


async def reset_health(connection: Connection, endpoint_id: uuid.UUID) -> None:
    """Clear what was found about a receiver."""
    await connection.execute(RESET_HEALTH, endpoint_id)


async def resume_paused(connection: Connection, now: datetime, limit: int) -> list[Resumed]:
    """Resume up to `limit` endpoints whose pause is over, and return them."""
    rows = await connection.fetch(RESUME_PAUSED, now, limit)
    return [_RESUMED(row) for row in rows]


async def archive(connection: Connection, endpoint_id: uuid.UUID, now: datetime) -> int:
    """Remove an endpoint from every list and return its last version; its deliveries stay readable."""
    version: int = await connection.fetchval(ARCHIVE_ENDPOINT, endpoint_id, now)
    return version


async def count_live(connection: Connection, now: datetime) -> Census:
    """Return the numbers of live endpoints by state, among a bounded number; listeners are not included."""
    census = Census(Counter(), Counter(), Counter(), Counter())
    for row in await connection.fetch(COUNT_LIVE, now, MOST_COUNTED):
        census.states[row["state"]] += row["count"]
        census.breakers[row["breaker"]] += row["count"]
        if row["pause"] is not None:
            census.pauses[row["pause"]] += row["count"]
        if row["certificate"] is not None:
            census.certificates[row["certificate"]] += row["count"]
    return census


async def states(connection: Connection, endpoint_ids: Sequence[uuid.UUID]) -> list[EndpointState]:
    """Return the state that may have changed about endpoints."""
    rows = await connection.fetch(FIND_STATES, endpoint_ids)
    return [_STATE(row) for row in rows]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "endpoints_uid":
            raise UIDTaken from error
        raise


def _shown_auth(text: str) -> ShownAuth:
    shown = orjson.loads(text)
    return ShownAuth(shown["type"], shown["name"])


async def _auth_columns(connection: Connection, endpoint: Endpoint, auth: Auth | None, seal: Seal) -> dict[str, Any]:
    if auth is None:
        return {"auth": None, "sealed_auth": None}
    at = auth_place(endpoint.program_id, endpoint.partner_id, endpoint.id)
    shown = _json({"type": auth.type, "name": auth.name})
    return {"auth": shown, "sealed_auth": await sealed(connection, seal, auth.secret.encode(), at)}


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


to_endpoint: Final = Rows(
    Endpoint,
    event_types=tuple,
    metadata=orjson.loads,
    headers=orjson.loads,
    auth=_shown_auth,
    schedule=tuple,
    client_certificate=to_certificate,
    ca_bundle=to_certificates,
)
_RESUMED: Final = Rows(Resumed)
_STATE: Final = Rows(EndpointState)
_INSERTED: Final = Values(INSERT_ENDPOINT.names, Endpoint, "auth", "sealed_auth", metadata=_json, headers=_json)
_UPDATED: Final = Values(UPDATE_ENDPOINT.names, Endpoint, metadata=_json, headers=_json)
