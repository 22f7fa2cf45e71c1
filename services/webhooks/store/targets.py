"""Endpoints as the sender needs them, with their secrets decrypted."""

import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from services.webhooks.domain.deliveries import Target
from services.webhooks.domain.headers import Auth
from services.webhooks.domain.secrets import missing_secret
from services.webhooks.domain.signature import SigningKey
from services.webhooks.store.certificates import to_terms
from services.webhooks.store.endpoints import to_endpoint
from services.webhooks.store.sealed import auth_place, key_place
from shared.database.pool import Connection
from shared.database.sealing import Seal, SealBroken

FIND_TARGETS = """
SELECT e.id, e.program_id, e.partner_id, e.uid, e.url, e.event_types, e.format, e.signing, e.description, e.metadata,
       e.headers, e.auth, e.sealed_auth, e.status, e.disabled_reason, e.paused_until, e.timeout_seconds,
       e.max_in_flight, e.rate_limit_per_second, e.schedule, e.ordering, e.on_exhausted, e.resume_at, e.breaker,
       e.failing_since, e.last_success_at, e.last_failure_at, e.listens_until, e.version, e.created_at, e.updated_at,
       e.archived_at, e.client_certificate, e.client_chain, e.sealed_client_key, e.ca_certificates AS ca_bundle,
       e.ca_bundle AS ca_pem, k.id AS key_id, k.algorithm, k.sealed_secret, k.expires_at
FROM endpoints e LEFT JOIN endpoint_keys k ON k.endpoint_id = e.id
WHERE e.id = ANY($1::uuid[])
ORDER BY e.id, k.id DESC
"""


async def find(connection: Connection, seal: Seal, endpoint_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Target]:
    """Return endpoints, including archived ones, with their secrets decrypted where possible."""
    rows: dict[uuid.UUID, list[Any]] = {}
    for row in await connection.fetch(FIND_TARGETS, endpoint_ids):
        rows.setdefault(row["id"], []).append(row)
    return {endpoint_id: _target(each, seal) for endpoint_id, each in rows.items()}


async def one(connection: Connection, seal: Seal, endpoint_id: uuid.UUID) -> Target:
    """Return an existing endpoint."""
    return (await find(connection, seal, [endpoint_id]))[endpoint_id]


def _target(rows: list[Any], seal: Seal) -> Target:
    row = rows[0]
    endpoint = to_endpoint(row)
    keys = [(each, _secret(each, seal)) for each in rows if each["key_id"] is not None]
    auth, has_auth = _auth(row, seal)
    tls, has_tls = to_terms(row, endpoint.client_certificate, seal)
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
    """Return the credentials for the receiver, and whether they are complete."""
    if row["sealed_auth"] is None:
        # If the credentials are shown, they must exist: without them a receiver would be sent unauthenticated requests.
        return None, row["auth"] is None
    try:
        secret = seal.open(row["sealed_auth"], auth_place(row["program_id"], row["partner_id"], row["id"]))
    except SealBroken:
        return None, False
    shown = orjson.loads(row["auth"])
    return Auth(shown["type"], shown["name"], secret.decode()), True
