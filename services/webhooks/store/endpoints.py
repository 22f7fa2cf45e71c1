"""Endpoints, and what the sender has to know of them."""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from services.webhooks.domain.deliveries import Target
from services.webhooks.domain.endpoints import Census, Endpoint, EndpointPage, EndpointState, Owner, Resumed, ShownAuth
from services.webhooks.domain.errors import UIDTaken
from services.webhooks.domain.event_types import choices_with
from services.webhooks.domain.headers import Auth
from services.webhooks.domain.secrets import missing_secret
from services.webhooks.domain.signature import SigningKey
from services.webhooks.store.certificates import to_certificate, to_certificates, to_terms
from services.webhooks.store.sealed import auth_place, key_place
from shared.database.pool import Connection
from shared.database.seal_forms import sealed
from shared.database.sealing import Seal, SealBroken

SCANNED_PER_PAGE: Final = 1_000
# Every process counts every few seconds.
MOST_COUNTED: Final = 20_000
_LAST_ID: Final = uuid.UUID(int=2**128 - 1)

INSERT_ENDPOINT = """
INSERT INTO endpoints (id, program_id, partner_id, url, event_types, format, signing, description, metadata, headers,
                       auth, sealed_auth, status, disabled_reason, timeout_seconds, max_in_flight,
                       rate_limit_per_second, schedule, ordering, on_exhausted, listens_until, created_at, updated_at,
                       uid)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $22, $23)
"""
FIND_ENDPOINT = """
SELECT id, program_id, partner_id, uid, url, event_types, format, signing, description, metadata, headers, auth, status,
       disabled_reason, paused_until, timeout_seconds, max_in_flight, rate_limit_per_second, schedule, ordering,
       on_exhausted, resume_at, breaker, failing_since, last_success_at, last_failure_at, listens_until, version,
       created_at, updated_at, client_certificate, ca_certificates
FROM endpoints
WHERE id = $1 AND program_id = $2 AND ($3::uuid IS NULL OR partner_id = $3) AND archived_at IS NULL
    AND (listens_until IS NULL) = NOT $4
"""
LOCK_ENDPOINT = """
SELECT id, program_id, partner_id, uid, url, event_types, format, signing, description, metadata, headers, auth, status,
       disabled_reason, paused_until, timeout_seconds, max_in_flight, rate_limit_per_second, schedule, ordering,
       on_exhausted, resume_at, breaker, failing_since, last_success_at, last_failure_at, listens_until, version,
       created_at, updated_at, client_certificate, ca_certificates
FROM endpoints
WHERE id = $1 AND program_id = $2 AND ($3::uuid IS NULL OR partner_id = $3) AND archived_at IS NULL
    AND (listens_until IS NULL) = NOT $4
FOR NO KEY UPDATE
"""
READ_ENDPOINTS = """
SELECT id, program_id, partner_id, uid, url, event_types, format, signing, description, metadata, headers, auth, status,
       disabled_reason, paused_until, timeout_seconds, max_in_flight, rate_limit_per_second, schedule, ordering,
       on_exhausted, resume_at, breaker, failing_since, last_success_at, last_failure_at, listens_until, version,
       created_at, updated_at, client_certificate, ca_certificates
FROM endpoints WHERE id = ANY ($1::uuid[]) ORDER BY id DESC
"""
# A partner has few; a program's are looked through a bounded number at a time. The last row, a mark, says that there
# may be more.
LIST_ENDPOINTS = """
WITH scanned AS MATERIALIZED (
    (SELECT id, status, event_types, uid, listens_until FROM (
        SELECT id, status, event_types, uid, listens_until FROM endpoints
        WHERE $2::uuid IS NOT NULL AND owner_id = $2 AND program_id = $1 AND archived_at IS NULL OFFSET 0) AS own
     WHERE id < $4)
    UNION ALL
    (SELECT id, status, event_types, uid, listens_until FROM endpoints
     WHERE $2::uuid IS NULL AND (program_id, id) < ($1, $4) AND program_id >= $1 AND archived_at IS NULL
     ORDER BY program_id DESC, id DESC LIMIT $8)
), chosen AS (
    SELECT id FROM scanned
    WHERE listens_until IS NULL AND ($3::text IS NULL OR status = $3) AND ($6::text[] IS NULL OR event_types && $6)
        AND ($7::text IS NULL OR uid = $7)
    ORDER BY id DESC LIMIT $5
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING $2::uuid IS NULL AND count(*) = $8
"""
COUNT_ENDPOINTS = "SELECT count(*) FROM endpoints WHERE owner_id = $1 AND archived_at IS NULL"
UPDATE_ENDPOINT = """
UPDATE endpoints
SET url = $2, event_types = $3, format = $4, signing = $5, description = $6, metadata = $7, headers = $8, status = $9,
    disabled_reason = $10, paused_until = $11, timeout_seconds = $12, max_in_flight = $13, rate_limit_per_second = $14,
    schedule = $15, ordering = $16, on_exhausted = $17, resume_at = $18, version = version + 1, updated_at = $19,
    uid = $20, is_closing = $9 = 'disabled'
WHERE id = $1
RETURNING version
"""
SET_AUTH = "UPDATE endpoints SET auth = $2, sealed_auth = $3 WHERE id = $1"
# A fresh start: what was found about the receiver before says nothing about it now. What was disabled is tried with one
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
# Resting is what asked for rest, or what is left alone because it failed too often; where both is true, it failed.
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
FIND_TARGETS = """
SELECT e.id, e.program_id, e.partner_id, e.uid, e.url, e.event_types, e.format, e.signing, e.description, e.metadata,
       e.headers, e.auth, e.sealed_auth, e.status, e.disabled_reason, e.paused_until, e.timeout_seconds,
       e.max_in_flight, e.rate_limit_per_second, e.schedule, e.ordering, e.on_exhausted, e.resume_at, e.breaker,
       e.failing_since, e.last_success_at, e.last_failure_at, e.listens_until, e.version, e.created_at, e.updated_at,
       e.archived_at, e.client_certificate, e.client_chain, e.sealed_client_key, e.ca_certificates, e.ca_bundle,
       k.id AS key_id, k.algorithm, k.sealed_secret, k.expires_at
FROM endpoints e LEFT JOIN endpoint_keys k ON k.endpoint_id = e.id
WHERE e.id = ANY($1::uuid[])
ORDER BY e.id, k.id DESC
"""
FIND_STATES = """
SELECT id, version, status, resume_at, archived_at, failing_since FROM endpoints WHERE id = ANY($1::uuid[])
"""


async def insert(connection: Connection, endpoint: Endpoint, auth: Auth | None, seal: Seal) -> None:
    """Write a new endpoint; what authenticates us to it is sealed. Raises UIDTaken."""
    with _translated():
        await connection.execute(
            INSERT_ENDPOINT,
            endpoint.id,
            endpoint.program_id,
            endpoint.partner_id,
            endpoint.url,
            list(endpoint.event_types),
            endpoint.format,
            endpoint.signing,
            endpoint.description,
            _json(endpoint.metadata),
            _json(endpoint.headers),
            *await _auth_columns(connection, endpoint, auth, seal),
            endpoint.status,
            endpoint.disabled_reason,
            endpoint.timeout_seconds,
            endpoint.max_in_flight,
            endpoint.rate_limit_per_second,
            endpoint.schedule,
            endpoint.ordering,
            endpoint.on_exhausted,
            endpoint.listens_until,
            endpoint.created_at,
            endpoint.uid,
        )


async def find(
    connection: Connection, owner: Owner, endpoint_id: uuid.UUID, *, is_listener: bool = False
) -> Endpoint | None:
    """Return a live endpoint, or a listener, of the program, and of the partner where one asks."""
    row = await connection.fetchrow(FIND_ENDPOINT, endpoint_id, owner.program_id, owner.partner_id, is_listener)
    return None if row is None else _endpoint(row)


async def lock(
    connection: Connection, owner: Owner, endpoint_id: uuid.UUID, *, is_listener: bool = False
) -> Endpoint | None:
    """As `find`, and keep others from changing it until the transaction ends."""
    row = await connection.fetchrow(LOCK_ENDPOINT, endpoint_id, owner.program_id, owner.partner_id, is_listener)
    return None if row is None else _endpoint(row)


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
    """Return up to `limit` live endpoints, the newest first; with `event_type` those that get it."""
    having = None if event_type is None else list(choices_with(event_type))
    is_all = status is None and event_type is None and uid is None
    bound = limit + 1 if is_all else max(SCANNED_PER_PAGE, limit + 1)
    whose = (owner.program_id, owner.partner_id)
    listed = await connection.fetch(LIST_ENDPOINTS, *whose, status, before or _LAST_ID, limit + 1, having, uid, bound)
    ids = sorted((row["id"] for row in listed if not row["is_mark"]), reverse=True)
    mark = next((row["id"] for row in listed if row["is_mark"]), None)
    found = [_endpoint(row) for row in await connection.fetch(READ_ENDPOINTS, ids[:limit])]
    return EndpointPage(found, ids[limit - 1] if len(ids) > limit else mark)


async def count(connection: Connection, owner_id: uuid.UUID) -> int:
    """Return how many live endpoints a program or a partner has of its own."""
    number: int = await connection.fetchval(COUNT_ENDPOINTS, owner_id)
    return number


async def update(connection: Connection, endpoint: Endpoint) -> int:
    """Write the members that can change and return the new version. Raises UIDTaken."""
    with _translated():
        version: int = await connection.fetchval(
            UPDATE_ENDPOINT,
            endpoint.id,
            endpoint.url,
            list(endpoint.event_types),
            endpoint.format,
            endpoint.signing,
            endpoint.description,
            _json(endpoint.metadata),
            _json(endpoint.headers),
            endpoint.status,
            endpoint.disabled_reason,
            endpoint.paused_until,
            endpoint.timeout_seconds,
            endpoint.max_in_flight,
            endpoint.rate_limit_per_second,
            endpoint.schedule,
            endpoint.ordering,
            endpoint.on_exhausted,
            endpoint.resume_at,
            endpoint.updated_at,
            endpoint.uid,
        )
    return version


async def set_auth(connection: Connection, endpoint: Endpoint, auth: Auth | None, seal: Seal) -> None:
    """Write how we authenticate ourselves to a receiver from now on."""
    await connection.execute(SET_AUTH, endpoint.id, *await _auth_columns(connection, endpoint, auth, seal))


async def reset_health(connection: Connection, endpoint_id: uuid.UUID) -> None:
    """Forget what was found about a receiver."""
    await connection.execute(RESET_HEALTH, endpoint_id)


async def resume_paused(connection: Connection, now: datetime, limit: int) -> list[Resumed]:
    """Resume up to `limit` endpoints whose pause is over, and return them."""
    rows = await connection.fetch(RESUME_PAUSED, now, limit)
    return [Resumed(row["id"], row["program_id"], row["partner_id"], row["uid"]) for row in rows]


async def archive(connection: Connection, endpoint_id: uuid.UUID, now: datetime) -> int:
    """Take an endpoint out of every list and return its last version; its deliveries stay readable."""
    version: int = await connection.fetchval(ARCHIVE_ENDPOINT, endpoint_id, now)
    return version


async def count_live(connection: Connection, now: datetime) -> Census:
    """Return how many live endpoints there are of each kind, among a bounded number; listeners are none of them."""
    census = Census(Counter(), Counter(), Counter(), Counter())
    for row in await connection.fetch(COUNT_LIVE, now, MOST_COUNTED):
        census.states[row["state"]] += row["count"]
        census.breakers[row["breaker"]] += row["count"]
        if row["pause"] is not None:
            census.pauses[row["pause"]] += row["count"]
        if row["certificate"] is not None:
            census.certificates[row["certificate"]] += row["count"]
    return census


async def targets(connection: Connection, seal: Seal, endpoint_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Target]:
    """Return endpoints, archived ones too, with what is sealed of them opened as far as it opens."""
    rows: dict[uuid.UUID, list[Any]] = {}
    for row in await connection.fetch(FIND_TARGETS, endpoint_ids):
        rows.setdefault(row["id"], []).append(row)
    return {endpoint_id: _target(each, seal) for endpoint_id, each in rows.items()}


async def states(connection: Connection, endpoint_ids: Sequence[uuid.UUID]) -> list[EndpointState]:
    """Return what may have changed about endpoints."""
    rows = await connection.fetch(FIND_STATES, endpoint_ids)
    return [
        EndpointState(
            row["id"],
            row["version"],
            row["status"] == "active" and row["archived_at"] is None,
            row["resume_at"],
            row["failing_since"] is not None,
        )
        for row in rows
    ]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "endpoints_uid":
            raise UIDTaken from error
        raise


def _endpoint(row: Any) -> Endpoint:
    auth = None if row["auth"] is None else orjson.loads(row["auth"])
    return Endpoint(
        id=row["id"],
        program_id=row["program_id"],
        partner_id=row["partner_id"],
        uid=row["uid"],
        url=row["url"],
        event_types=tuple(row["event_types"]),
        format=row["format"],
        signing=row["signing"],
        description=row["description"],
        metadata=orjson.loads(row["metadata"]),
        headers=orjson.loads(row["headers"]),
        auth=None if auth is None else ShownAuth(auth["type"], auth["name"]),
        status=row["status"],
        disabled_reason=row["disabled_reason"],
        paused_until=row["paused_until"],
        timeout_seconds=row["timeout_seconds"],
        max_in_flight=row["max_in_flight"],
        rate_limit_per_second=row["rate_limit_per_second"],
        schedule=None if row["schedule"] is None else tuple(row["schedule"]),
        ordering=row["ordering"],
        on_exhausted=row["on_exhausted"],
        resume_at=row["resume_at"],
        breaker=row["breaker"],
        failing_since=row["failing_since"],
        last_success_at=row["last_success_at"],
        last_failure_at=row["last_failure_at"],
        listens_until=row["listens_until"],
        version=row["version"],
        client_certificate=to_certificate(row["client_certificate"]),
        ca_bundle=to_certificates(row["ca_certificates"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _target(rows: list[Any], seal: Seal) -> Target:
    row = rows[0]
    endpoint = _endpoint(row)
    keys = [(each, _secret(each, seal)) for each in rows if each["key_id"] is not None]
    auth, has_auth = _auth(row, seal)
    tls, has_tls = to_terms(row, seal)
    opened = [(each["algorithm"], secret is not None) for each, secret in keys]
    return Target(
        endpoint,
        tuple((SigningKey(each["algorithm"], secret), each["expires_at"]) for each, secret in keys if secret),
        auth,
        is_archived=row["archived_at"] is not None,
        missing=missing_secret(endpoint.signing, opened, has_readable_auth=has_auth and has_tls),
        tls=tls,
    )


def _secret(row: Any, seal: Seal) -> bytes | None:
    at = key_place(row["program_id"], row["partner_id"], row["id"], row["key_id"], row["algorithm"])
    try:
        return seal.open(row["sealed_secret"], at)
    except SealBroken:
        return None


def _auth(row: Any, seal: Seal) -> tuple[Auth | None, bool]:
    """Return what authenticates us to the receiver, and whether that is all that is to."""
    if row["sealed_auth"] is None:
        # Where it is shown, it has to be there: without it a receiver would be sent what it did not ask for.
        return None, row["auth"] is None
    try:
        secret = seal.open(row["sealed_auth"], auth_place(row["program_id"], row["partner_id"], row["id"]))
    except SealBroken:
        return None, False
    shown = orjson.loads(row["auth"])
    return Auth(shown["type"], shown["name"], secret.decode()), True


async def _auth_columns(
    connection: Connection, endpoint: Endpoint, auth: Auth | None, seal: Seal
) -> tuple[str | None, bytes | None]:
    if auth is None:
        return None, None
    at = auth_place(endpoint.program_id, endpoint.partner_id, endpoint.id)
    shown = _json({"type": auth.type, "name": auth.name})
    return shown, await sealed(connection, seal, auth.secret.encode(), at)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
