"""The sealed texts of endpoints: the context each is bound to, pages of all of them, and which endpoints lack one."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from services.webhooks.domain.endpoints import Marked
from services.webhooks.domain.signature import Algorithm, Signing
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement
from shared.database.sealing import Place, place

LIST_SEALED = """
SELECT e.id, e.program_id, e.partner_id, e.signing, e.sealed_auth AS auth, e.archived_at IS NOT NULL AS is_archived,
       e.secret_unreadable_since IS NOT NULL AS is_marked, e.auth IS NOT NULL AS has_auth, e.version,
       e.sealed_client_key AS client_key, e.client_certificate->>'fingerprint_sha256' AS fingerprint,
       k.id AS key_id, k.algorithm, k.sealed_secret AS sealed
FROM (SELECT id, program_id, partner_id, signing, auth, sealed_auth, archived_at, secret_unreadable_since, version,
             sealed_client_key, client_certificate
      FROM endpoints WHERE id > $1 ORDER BY id LIMIT $2) AS e
LEFT JOIN endpoint_keys k ON k.endpoint_id = e.id
ORDER BY e.id, k.id DESC
"""
# A concurrent change wins.
RENEW_KEY = "UPDATE endpoint_keys SET sealed_secret = $3 WHERE id = $1 AND sealed_secret = $2"
RENEW_AUTH = "UPDATE endpoints SET sealed_auth = $3 WHERE id = $1 AND sealed_auth = $2"
RENEW_CLIENT_KEY = "UPDATE endpoints SET sealed_client_key = $3 WHERE id = $1 AND sealed_client_key = $2"
# What was changed since it was read is left to the next round. If another process could decrypt it recently, the event
# is not repeated: then it is that process that lacks a key.
MARK_UNREADABLE = Statement("""
UPDATE endpoints e SET secret_unreadable_since = $now
FROM @found(id uuid, version bigint)
WHERE e.id = found.id AND e.version = found.version AND e.secret_unreadable_since IS NULL AND e.archived_at IS NULL
  AND (e.secret_readable_at IS NULL OR e.secret_readable_at < $quiet_since)
RETURNING e.id, e.program_id, e.partner_id, e.uid, e.listens_until IS NOT NULL AS is_listener
""")
MARK_READABLE = """
UPDATE endpoints SET secret_unreadable_since = NULL, secret_readable_at = $2
WHERE id = ANY($1::uuid[]) AND secret_unreadable_since IS NOT NULL
RETURNING id, program_id, partner_id, uid, listens_until IS NOT NULL AS is_listener
"""


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A signing key as stored."""

    id: uuid.UUID
    algorithm: Algorithm
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEndpoint:
    """An endpoint with all its sealed texts, its keys the newest first."""

    id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    signing: Signing
    has_auth: bool
    auth: bytes | None
    client_key: bytes | None
    fingerprint: str | None
    keys: tuple[SealedKey, ...]
    version: int
    is_archived: bool
    is_marked: bool


def key_place(
    program_id: uuid.UUID,
    partner_id: uuid.UUID | None,
    endpoint_id: uuid.UUID,
    key_id: uuid.UUID,
    algorithm: Algorithm,
) -> Place:
    """Return the context that the secret of a signing key is bound to."""
    names = (program_id, partner_id, endpoint_id, key_id)
    return place(f"signing key {algorithm}", *names, first_form=endpoint_id.bytes)


def auth_place(program_id: uuid.UUID, partner_id: uuid.UUID | None, endpoint_id: uuid.UUID) -> Place:
    """Return the context that the credentials for an endpoint's receiver are bound to."""
    return place("auth", program_id, partner_id, endpoint_id, first_form=endpoint_id.bytes)


def client_key_place(
    program_id: uuid.UUID, partner_id: uuid.UUID | None, endpoint_id: uuid.UUID, fingerprint: str
) -> Place:
    """Return the context that the key of a client certificate is bound to: one certificate of one endpoint."""
    return place("client key", program_id, partner_id, endpoint_id, fingerprint, first_form=endpoint_id.bytes)


async def list_page(connection: Connection, after: uuid.UUID, limit: int) -> list[SealedEndpoint]:
    """Return up to `limit` endpoints in the order of their ids, including archived ones and listeners."""
    rows: dict[uuid.UUID, list[Any]] = {}
    for row in await connection.fetch(LIST_SEALED, after, limit):
        rows.setdefault(row["id"], []).append(row)
    return [_endpoint(each) for each in rows.values()]


async def renew_key(connection: Connection, key_id: uuid.UUID, before: bytes, renewed: bytes) -> None:
    """Write the secret of a signing key as sealed now."""
    await connection.execute(RENEW_KEY, key_id, before, renewed)


async def renew_auth(connection: Connection, endpoint_id: uuid.UUID, before: bytes, renewed: bytes) -> None:
    """Write the credentials for a receiver as sealed now."""
    await connection.execute(RENEW_AUTH, endpoint_id, before, renewed)


async def renew_client_key(connection: Connection, endpoint_id: uuid.UUID, before: bytes, renewed: bytes) -> None:
    """Write the key of a client certificate as sealed now."""
    await connection.execute(RENEW_CLIENT_KEY, endpoint_id, before, renewed)


async def mark_unreadable(
    connection: Connection, versions: Mapping[uuid.UUID, int], now: datetime, quiet: timedelta
) -> list[Marked]:
    """Mark the secrets of endpoints at these versions as unreadable; return the endpoints for which that is new.

    Endpoints that another process could decrypt less than `quiet` ago are left out.
    """
    found = {"id": list(versions), "version": list(versions.values())}
    rows = await connection.fetch(*MARK_UNREADABLE(found=found, now=now, quiet_since=now - quiet))
    return [_MARKED(row) for row in rows]


async def mark_readable(connection: Connection, endpoint_ids: Collection[uuid.UUID], now: datetime) -> list[Marked]:
    """Mark the secrets of endpoints as readable, and return the endpoints for which that is new."""
    return [_MARKED(row) for row in await connection.fetch(MARK_READABLE, endpoint_ids, now)]


def _endpoint(rows: list[Any]) -> SealedEndpoint:
    keys = tuple(_KEY(row, id=row["key_id"]) for row in rows if row["key_id"] is not None)
    return _ENDPOINT(rows[0], keys=keys)


_MARKED: Final = Rows(Marked)
_KEY: Final = Rows(SealedKey, "id")
_ENDPOINT: Final = Rows(SealedEndpoint, "keys")
