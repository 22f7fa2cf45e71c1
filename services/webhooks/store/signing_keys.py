"""The signing keys of endpoints, and whatever else is sealed."""

import uuid
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidTag

from services.webhooks.domain.signature import Algorithm, MadeKey, ShownKey, SigningKey
from shared.database.pool import Connection
from shared.database.sealing import Seal

BUMP_VERSION = "UPDATE endpoints SET version = version + 1, updated_at = $2 WHERE id = $1"
INSERT_KEY = """
INSERT INTO endpoint_keys (id, endpoint_id, algorithm, sealed_secret, public_key, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, NULL)
"""
COUNT_LIVE_KEYS = """
SELECT count(*) FROM endpoint_keys
WHERE endpoint_id = $1 AND algorithm = $3 AND (expires_at IS NULL OR expires_at > $2)
"""
LIST_KEYS = """
SELECT id, algorithm, public_key, created_at, expires_at FROM endpoint_keys
WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC
"""
EXPIRE_KEYS = """
UPDATE endpoint_keys SET expires_at = $2
WHERE endpoint_id = $1 AND algorithm = $3 AND (expires_at IS NULL OR expires_at > $2)
"""
DELETE_EXPIRED_KEYS = "DELETE FROM endpoint_keys WHERE endpoint_id = $1 AND expires_at <= $2"
PROLONG_KEY = "UPDATE endpoint_keys SET expires_at = NULL WHERE endpoint_id = $1 AND id = $2"
DELETE_KEY = "DELETE FROM endpoint_keys WHERE endpoint_id = $1 AND id = $2"
LIVE_KEYS = """
SELECT id, algorithm, sealed_secret FROM endpoint_keys
WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC
"""
PUBLIC_KEYS = """
SELECT k.id, k.algorithm, k.public_key, k.created_at, k.expires_at
FROM endpoint_keys k JOIN endpoints e ON e.id = k.endpoint_id
WHERE k.endpoint_id = $1 AND e.archived_at IS NULL AND k.algorithm = 'ed25519'
    AND (k.expires_at IS NULL OR k.expires_at > $2)
ORDER BY k.id DESC
"""
# What the first of the sealing keys has not sealed, a few at a time.
FIND_KEYS_TO_RESEAL = """
SELECT id, endpoint_id, sealed_secret AS sealed FROM endpoint_keys WHERE substring(sealed_secret FOR 4) <> $1 LIMIT $2
"""
RESEAL_KEY = "UPDATE endpoint_keys SET sealed_secret = $3 WHERE id = $1 AND sealed_secret = $2"
FIND_AUTH_TO_RESEAL = """
SELECT id, id AS endpoint_id, sealed_auth AS sealed FROM endpoints WHERE substring(sealed_auth FOR 4) <> $1 LIMIT $2
"""
RESEAL_AUTH = "UPDATE endpoints SET sealed_auth = $3 WHERE id = $1 AND sealed_auth = $2"


async def insert(
    connection: Connection, seal: Seal, key_id: uuid.UUID, endpoint_id: uuid.UUID, made: MadeKey, now: datetime
) -> None:
    """Write a signing key, sealed to its endpoint."""
    sealed = seal.close(made.key.secret, endpoint_id.bytes)
    await connection.execute(INSERT_KEY, key_id, endpoint_id, made.key.algorithm, sealed, made.public_key, now)


async def count_live(connection: Connection, endpoint_id: uuid.UUID, algorithm: Algorithm, now: datetime) -> int:
    """Return how many keys of an algorithm are alive at this moment."""
    count: int = await connection.fetchval(COUNT_LIVE_KEYS, endpoint_id, now, algorithm)
    return count


async def list_live(connection: Connection, endpoint_id: uuid.UUID, now: datetime) -> list[ShownKey]:
    """Return the live keys, the newest first, without their secrets."""
    return [_key(row) for row in await connection.fetch(LIST_KEYS, endpoint_id, now)]


async def opened(
    connection: Connection, seal: Seal, endpoint_id: uuid.UUID, now: datetime
) -> list[tuple[uuid.UUID, SigningKey]]:
    """Return the live keys of an endpoint, opened, the newest first."""
    rows = await connection.fetch(LIVE_KEYS, endpoint_id, now)
    return [
        (row["id"], SigningKey(row["algorithm"], seal.open(row["sealed_secret"], endpoint_id.bytes))) for row in rows
    ]


async def public(connection: Connection, endpoint_id: uuid.UUID, now: datetime) -> list[ShownKey]:
    """Return the live ed25519 keys of an endpoint; none if there is no such endpoint."""
    return [_key(row) for row in await connection.fetch(PUBLIC_KEYS, endpoint_id, now)]


async def expire(
    connection: Connection, endpoint_id: uuid.UUID, algorithm: Algorithm, now: datetime, until: datetime
) -> None:
    """Let every key of an algorithm that lives longer end at `until`, and remove those that have ended."""
    await connection.execute(EXPIRE_KEYS, endpoint_id, until, algorithm)
    await connection.execute(DELETE_EXPIRED_KEYS, endpoint_id, now)
    await connection.execute(BUMP_VERSION, endpoint_id, now)


async def prolong(connection: Connection, endpoint_id: uuid.UUID, key_id: uuid.UUID) -> None:
    """Let a key live on without end."""
    await connection.execute(PROLONG_KEY, endpoint_id, key_id)


async def delete(connection: Connection, endpoint_id: uuid.UUID, key_id: uuid.UUID, now: datetime) -> None:
    """Remove a key for good."""
    await connection.execute(DELETE_KEY, endpoint_id, key_id)
    await connection.execute(BUMP_VERSION, endpoint_id, now)


async def reseal(connection: Connection, seal: Seal, limit: int) -> tuple[int, int]:
    """Seal up to `limit` secrets anew that an older key has sealed; return how many, and how many no key opens.

    A secret that somebody changes meanwhile stays as they left it.
    """
    done = unreadable = 0
    for find, write in ((FIND_KEYS_TO_RESEAL, RESEAL_KEY), (FIND_AUTH_TO_RESEAL, RESEAL_AUTH)):
        # arch: allow-built-sql: one of two constants
        for row in await connection.fetch(find, seal.mark, limit):
            place = row["endpoint_id"].bytes
            try:
                sealed = seal.close(seal.open(row["sealed"], place), place)
            except InvalidTag:
                unreadable += 1
                continue
            await connection.execute(write, row["id"], row["sealed"], sealed)  # arch: allow-built-sql: as above
            done += 1
    return done, unreadable


def _key(row: Any) -> ShownKey:
    return ShownKey(row["id"], row["algorithm"], row["public_key"], row["created_at"], row["expires_at"])
