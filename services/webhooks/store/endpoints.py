"""Endpoints and their signing keys."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.webhooks.domain.deliveries import Target
from services.webhooks.domain.endpoints import Endpoint, EndpointState
from shared.database.pool import Connection
from shared.database.sealing import Seal

INSERT_ENDPOINT = """
INSERT INTO endpoints (id, program_id, partner_id, url, event_types, format, description, status, max_in_flight,
                       created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
FIND_ENDPOINT = """
SELECT id, program_id, partner_id, url, event_types, format, description, status, disabled_reason, max_in_flight,
       resume_at, version, created_at, updated_at
FROM endpoints
WHERE id = $1 AND program_id = $2 AND ($3::uuid IS NULL OR partner_id = $3) AND archived_at IS NULL
"""
LOCK_ENDPOINT = """
SELECT id, program_id, partner_id, url, event_types, format, description, status, disabled_reason, max_in_flight,
       resume_at, version, created_at, updated_at
FROM endpoints
WHERE id = $1 AND program_id = $2 AND ($3::uuid IS NULL OR partner_id = $3) AND archived_at IS NULL
FOR NO KEY UPDATE
"""
LIST_ENDPOINTS = """
SELECT id, program_id, partner_id, url, event_types, format, description, status, disabled_reason, max_in_flight,
       resume_at, version, created_at, updated_at
FROM endpoints
WHERE program_id = $1 AND ($2::uuid IS NULL OR partner_id = $2) AND archived_at IS NULL
    AND ($3::text IS NULL OR status = $3) AND ($4::uuid IS NULL OR id < $4)
ORDER BY id DESC LIMIT $5
"""
COUNT_ENDPOINTS = "SELECT count(*) FROM endpoints WHERE owner_id = $1 AND archived_at IS NULL"
UPDATE_ENDPOINT = """
UPDATE endpoints
SET url = $2, event_types = $3, description = $4, status = $5, disabled_reason = $6, max_in_flight = $7, resume_at = $8,
    version = version + 1, updated_at = $9
WHERE id = $1
RETURNING version
"""
ARCHIVE_ENDPOINT = "UPDATE endpoints SET archived_at = $2, updated_at = $2, version = version + 1 WHERE id = $1"
BUMP_VERSION = "UPDATE endpoints SET version = version + 1, updated_at = $2 WHERE id = $1"
PARTNER_EXISTS = """
SELECT EXISTS (SELECT 1 FROM codes.credential_v1 WHERE program_id = $1 AND partner_id = $2)
    OR EXISTS (SELECT 1 FROM codes.redeemable_v1 WHERE program_id = $1 AND partner_id = $2)
"""
INSERT_KEY = """
INSERT INTO endpoint_keys (id, endpoint_id, sealed_secret, created_at, expires_at) VALUES ($1, $2, $3, $4, NULL)
"""
COUNT_LIVE_KEYS = (
    "SELECT count(*) FROM endpoint_keys WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2)"
)
EXPIRE_KEYS = """
UPDATE endpoint_keys SET expires_at = $2
WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2)
"""
DELETE_EXPIRED_KEYS = "DELETE FROM endpoint_keys WHERE endpoint_id = $1 AND expires_at <= $2"
FIND_TARGETS = """
SELECT e.id, e.program_id, e.partner_id, e.url, e.event_types, e.format, e.description, e.status, e.disabled_reason,
       e.max_in_flight, e.resume_at, e.version, e.created_at, e.updated_at, e.archived_at, k.id AS key_id,
       k.sealed_secret, k.expires_at
FROM endpoints e JOIN endpoint_keys k ON k.endpoint_id = e.id
WHERE e.id = ANY($1::uuid[])
ORDER BY e.id, k.id DESC
"""
FIND_STATES = """
SELECT id, version, status, resume_at, archived_at FROM endpoints WHERE id = ANY($1::uuid[])
"""


async def insert(connection: Connection, endpoint: Endpoint) -> None:
    """Write a new endpoint."""
    await connection.execute(
        INSERT_ENDPOINT,
        endpoint.id,
        endpoint.program_id,
        endpoint.partner_id,
        endpoint.url,
        list(endpoint.event_types),
        endpoint.format,
        endpoint.description,
        endpoint.status,
        endpoint.max_in_flight,
        endpoint.created_at,
        endpoint.updated_at,
    )


async def find(
    connection: Connection, endpoint_id: uuid.UUID, program_id: uuid.UUID, partner_id: uuid.UUID | None
) -> Endpoint | None:
    """Return a live endpoint of the program, and of the partner where one is given."""
    row = await connection.fetchrow(FIND_ENDPOINT, endpoint_id, program_id, partner_id)
    return None if row is None else _endpoint(row)


async def lock(
    connection: Connection, endpoint_id: uuid.UUID, program_id: uuid.UUID, partner_id: uuid.UUID | None
) -> Endpoint | None:
    """As `find`, and keep others from changing it until the transaction ends."""
    row = await connection.fetchrow(LOCK_ENDPOINT, endpoint_id, program_id, partner_id)
    return None if row is None else _endpoint(row)


async def list_page(
    connection: Connection,
    program_id: uuid.UUID,
    partner_id: uuid.UUID | None,
    status: str | None,
    before: uuid.UUID | None,
    limit: int,
) -> list[Endpoint]:
    """Return live endpoints, the newest first."""
    rows = await connection.fetch(LIST_ENDPOINTS, program_id, partner_id, status, before, limit)
    return [_endpoint(row) for row in rows]


async def count(connection: Connection, owner_id: uuid.UUID) -> int:
    """Return how many live endpoints a program or a partner has of its own."""
    number: int = await connection.fetchval(COUNT_ENDPOINTS, owner_id)
    return number


async def update(connection: Connection, endpoint: Endpoint) -> int:
    """Write the members that can change and return the new version."""
    version: int = await connection.fetchval(
        UPDATE_ENDPOINT,
        endpoint.id,
        endpoint.url,
        list(endpoint.event_types),
        endpoint.description,
        endpoint.status,
        endpoint.disabled_reason,
        endpoint.max_in_flight,
        endpoint.resume_at,
        endpoint.updated_at,
    )
    return version


async def archive(connection: Connection, endpoint_id: uuid.UUID, now: datetime) -> None:
    """Take an endpoint out of every list; its deliveries stay readable."""
    await connection.execute(ARCHIVE_ENDPOINT, endpoint_id, now)


async def partner_exists(connection: Connection, program_id: uuid.UUID, partner_id: uuid.UUID) -> bool:
    """Say whether the program has a partner of this id, as far as the published views show it."""
    exists: bool = await connection.fetchval(PARTNER_EXISTS, program_id, partner_id)
    return exists


async def insert_key(
    connection: Connection, seal: Seal, key_id: uuid.UUID, endpoint_id: uuid.UUID, key: bytes, now: datetime
) -> None:
    """Write a signing key, sealed to its endpoint."""
    await connection.execute(INSERT_KEY, key_id, endpoint_id, seal.close(key, endpoint_id.bytes), now)


async def count_live_keys(connection: Connection, endpoint_id: uuid.UUID, now: datetime) -> int:
    """Return how many keys sign at this moment."""
    count: int = await connection.fetchval(COUNT_LIVE_KEYS, endpoint_id, now)
    return count


async def expire_keys(connection: Connection, endpoint_id: uuid.UUID, now: datetime, until: datetime) -> None:
    """Let every key that lives longer end at `until`, and remove those that have ended."""
    await connection.execute(EXPIRE_KEYS, endpoint_id, until)
    await connection.execute(DELETE_EXPIRED_KEYS, endpoint_id, now)
    await connection.execute(BUMP_VERSION, endpoint_id, now)


async def targets(connection: Connection, seal: Seal, endpoint_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Target]:
    """Return endpoints, archived ones too, with all their keys opened."""
    rows = await connection.fetch(FIND_TARGETS, endpoint_ids)
    endpoints: dict[uuid.UUID, Endpoint] = {}
    keys: dict[uuid.UUID, list[tuple[bytes, datetime | None]]] = {}
    archived = set()
    for row in rows:
        endpoint_id = row["id"]
        if endpoint_id not in endpoints:
            endpoints[endpoint_id] = _endpoint(row)
            keys[endpoint_id] = []
            if row["archived_at"] is not None:
                archived.add(endpoint_id)
        keys[endpoint_id].append((seal.open(row["sealed_secret"], endpoint_id.bytes), row["expires_at"]))
    return {
        endpoint_id: Target(endpoint, tuple(keys[endpoint_id]), is_archived=endpoint_id in archived)
        for endpoint_id, endpoint in endpoints.items()
    }


async def states(connection: Connection, endpoint_ids: Sequence[uuid.UUID]) -> list[EndpointState]:
    """Return what may have changed about endpoints."""
    rows = await connection.fetch(FIND_STATES, endpoint_ids)
    return [
        EndpointState(
            row["id"],
            row["version"],
            row["status"] == "active" and row["archived_at"] is None,
            row["resume_at"],
        )
        for row in rows
    ]


def _endpoint(row: Any) -> Endpoint:
    return Endpoint(
        id=row["id"],
        program_id=row["program_id"],
        partner_id=row["partner_id"],
        url=row["url"],
        event_types=tuple(row["event_types"]),
        format=row["format"],
        description=row["description"],
        status=row["status"],
        disabled_reason=row["disabled_reason"],
        max_in_flight=row["max_in_flight"],
        resume_at=row["resume_at"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
