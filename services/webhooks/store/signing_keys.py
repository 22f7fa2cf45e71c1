"""The signing keys of endpoints."""

import uuid
from datetime import datetime
from typing import Any, Final, NamedTuple

from services.webhooks.domain.endpoints import Endpoint
from services.webhooks.domain.signature import Algorithm, MadeKey, ShownKey, SigningKey
from services.webhooks.store.sealed import key_place
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement
from shared.database.seal_forms import sealed
from shared.database.sealing import Place, Seal, SealBroken

BUMP_VERSION = "UPDATE endpoints SET version = version + 1, updated_at = $2 WHERE id = $1"
INSERT_KEY = Statement("""
INSERT INTO endpoint_keys (id, endpoint_id, algorithm, sealed_secret, public_key, created_at, expires_at, made_by,
                           starts_with)
VALUES ($id, $endpoint_id, $algorithm, $sealed_secret, $public_key, $now, NULL, $made_by, $starts_with)
""")
COUNT_LIVE_KEYS = """
SELECT count(*) FROM endpoint_keys
WHERE endpoint_id = $1 AND algorithm = $3 AND (expires_at IS NULL OR expires_at > $2)
"""
LIST_KEYS = """
SELECT id, algorithm, public_key, created_at, expires_at, made_by, starts_with FROM endpoint_keys
WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC
"""
EXPIRE_KEYS = """
UPDATE endpoint_keys SET expires_at = $2
WHERE endpoint_id = $1 AND algorithm = $3 AND (expires_at IS NULL OR expires_at > $2)
"""
# Expired keys stay for a while, so that the debugger can recognise them; but only a limited number.
DELETE_OLD_KEYS = """
DELETE FROM endpoint_keys WHERE id = ANY (ARRAY(
    SELECT id FROM endpoint_keys WHERE endpoint_id = $1 AND expires_at <= $2 ORDER BY id DESC OFFSET $3))
"""
PROLONG_KEY = "UPDATE endpoint_keys SET expires_at = NULL WHERE endpoint_id = $1 AND id = $2"
DELETE_KEY = "DELETE FROM endpoint_keys WHERE endpoint_id = $1 AND id = $2"
LIVE_KEYS = """
SELECT id, algorithm, sealed_secret FROM endpoint_keys
WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC
"""
ENDED_KEYS = """
SELECT id, algorithm, sealed_secret FROM endpoint_keys
WHERE endpoint_id = $1 AND expires_at <= $2 ORDER BY id DESC LIMIT $3
"""
PUBLIC_KEYS = """
SELECT k.id, k.algorithm, k.public_key, k.created_at, k.expires_at, k.made_by, k.starts_with
FROM endpoint_keys k JOIN endpoints e ON e.id = k.endpoint_id
WHERE k.endpoint_id = $1 AND e.archived_at IS NULL AND k.algorithm = 'ed25519'
    AND (k.expires_at IS NULL OR k.expires_at > $2)
ORDER BY k.id DESC
"""

# How many keys of an endpoint are kept after they expire.
MOST_ENDED: Final = 10


class OpenedKey(NamedTuple):
    """A key; None if it cannot be decrypted."""

    id: uuid.UUID
    algorithm: Algorithm
    key: SigningKey | None


async def insert(
    connection: Connection,
    seal: Seal,
    key_id: uuid.UUID,
    endpoint: Endpoint,
    made: MadeKey,
    now: datetime,
    *,
    made_by: uuid.UUID | None,
) -> None:
    """Write a signing key, sealed to its context."""
    key = made.key
    text = await sealed(connection, seal, key.secret, _place(endpoint, key_id, key.algorithm))
    await connection.execute(
        *INSERT_KEY(
            id=key_id,
            endpoint_id=endpoint.id,
            algorithm=key.algorithm,
            sealed_secret=text,
            public_key=made.public_key,
            now=now,
            made_by=made_by,
            starts_with=key.starts_with,
        )
    )


async def count_live(connection: Connection, endpoint_id: uuid.UUID, algorithm: Algorithm, now: datetime) -> int:
    """Return how many keys of an algorithm are active."""
    count: int = await connection.fetchval(COUNT_LIVE_KEYS, endpoint_id, now, algorithm)
    return count


async def list_live(connection: Connection, endpoint_id: uuid.UUID, now: datetime) -> list[ShownKey]:
    """Return the active keys, the newest first, without their secrets."""
    return [_key(row) for row in await connection.fetch(LIST_KEYS, endpoint_id, now)]


async def list_opened(connection: Connection, seal: Seal, endpoint: Endpoint, now: datetime) -> list[OpenedKey]:
    """Return the active keys of an endpoint, decrypted, the newest first."""
    rows = await connection.fetch(LIVE_KEYS, endpoint.id, now)
    return [_opened(row, seal, endpoint) for row in rows]


async def list_ended(connection: Connection, seal: Seal, endpoint: Endpoint, now: datetime) -> list[OpenedKey]:
    """Return the stored expired keys of an endpoint, decrypted, the newest first."""
    rows = await connection.fetch(ENDED_KEYS, endpoint.id, now, MOST_ENDED)
    return [_opened(row, seal, endpoint) for row in rows]


async def public(connection: Connection, endpoint_id: uuid.UUID, now: datetime) -> list[ShownKey]:
    """Return the active ed25519 keys of an endpoint; none if there is no such endpoint."""
    return [_key(row) for row in await connection.fetch(PUBLIC_KEYS, endpoint_id, now)]


async def expire(
    connection: Connection, endpoint_id: uuid.UUID, algorithm: Algorithm, now: datetime, until: datetime
) -> None:
    """Let every key of an algorithm that lives longer expire at `until`, and remove those that expired long ago."""
    await connection.execute(EXPIRE_KEYS, endpoint_id, until, algorithm)
    await connection.execute(DELETE_OLD_KEYS, endpoint_id, now, MOST_ENDED)
    await connection.execute(BUMP_VERSION, endpoint_id, now)


async def prolong(connection: Connection, endpoint_id: uuid.UUID, key_id: uuid.UUID) -> None:
    """Remove the expiry of a key."""
    await connection.execute(PROLONG_KEY, endpoint_id, key_id)


async def delete(connection: Connection, endpoint_id: uuid.UUID, key_id: uuid.UUID, now: datetime) -> None:
    """Remove a key for good."""
    await connection.execute(DELETE_KEY, endpoint_id, key_id)
    await connection.execute(BUMP_VERSION, endpoint_id, now)


def _opened(row: Any, seal: Seal, endpoint: Endpoint) -> OpenedKey:
    try:
        secret = seal.open(row["sealed_secret"], _place(endpoint, row["id"], row["algorithm"]))
    except SealBroken:
        return OpenedKey(row["id"], row["algorithm"], None)
    return OpenedKey(row["id"], row["algorithm"], SigningKey(row["algorithm"], secret))


def _place(endpoint: Endpoint, key_id: uuid.UUID, algorithm: Algorithm) -> Place:
    return key_place(endpoint.program_id, endpoint.partner_id, endpoint.id, key_id, algorithm)


_key: Final = Rows(ShownKey)
