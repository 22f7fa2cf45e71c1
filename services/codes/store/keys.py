"""API keys; only the digest of a key's text is stored.

A minting account has a row among them for its rate window, with its own id and a digest of no text. It is not a key:
no list shows it, and only the mint's statements and `INSERT_ACCOUNT` use it.
"""

import secrets
import uuid
from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Final

from services.codes.domain.given import Given
from services.codes.domain.keys import APIKey, KeyDraft, KeyOwner, KeyTerms
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import LAST_ID

# The owner's row is locked, so the free slot found here stays free; the unique index is the safeguard.
INSERT_KEY = Statement("""
INSERT INTO api_keys (id, program_id, partner_id, kind, purpose, slot, name, scopes, digest, rate_limit_per_minute,
                      created_at, made_by_key_id)
SELECT $id, $program_id, $partner_id::uuid, $kind, $purpose, free.slot, $name, $scopes, $digest, $rate_limit_per_minute,
       $created_at, $made_by_key_id
FROM (SELECT s.slot FROM generate_series(1, 2) AS s (slot)
      WHERE NOT EXISTS (
          SELECT FROM api_keys a
          WHERE coalesce(a.partner_id, a.program_id) = coalesce($partner_id::uuid, $program_id) AND a.kind = $kind
            AND a.purpose = $purpose
            AND a.slot = s.slot AND a.revoked_at IS NULL)
      ORDER BY s.slot LIMIT 1) free
RETURNING id
""")
INSERT_ACCOUNT = Statement("""
INSERT INTO api_keys (id, program_id, partner_id, kind, purpose, slot, scopes, digest, rate_limit_per_minute,
                      created_at)
VALUES ($id, $program_id, $partner_id, 'account', $purpose, 1, $scopes, $digest, $rate_limit_per_minute, $created_at)
ON CONFLICT DO NOTHING
""")
FIND_KEY = """
SELECT id, program_id, partner_id, kind, purpose, name, scopes, rate_limit_per_minute, created_at, revoked_at,
       made_by_key_id
FROM api_keys WHERE id = $1 AND program_id = $2 AND partner_id IS NOT DISTINCT FROM $3 AND kind <> 'account'
"""
# A program's own or a partner's: the other branch is not even started.
LIST_KEYS = """
(SELECT id, program_id, partner_id, kind, purpose, name, scopes, rate_limit_per_minute, created_at, revoked_at,
        made_by_key_id
 FROM api_keys WHERE $2::uuid IS NULL AND program_id = $1 AND partner_id IS NULL AND id < $3 AND kind <> 'account'
 ORDER BY program_id DESC, partner_id DESC, id DESC LIMIT $4)
UNION ALL
(SELECT id, program_id, partner_id, kind, purpose, name, scopes, rate_limit_per_minute, created_at, revoked_at,
        made_by_key_id
 FROM api_keys WHERE (program_id, partner_id, id) < ($1, $2, $3) AND (program_id, partner_id) >= ($1, $2)
     AND kind <> 'account'
 ORDER BY program_id DESC, partner_id DESC, id DESC LIMIT $4)
"""
LIST_MADE_KEYS = """
SELECT id, program_id, partner_id, kind, purpose, name, scopes, rate_limit_per_minute, created_at, revoked_at,
       made_by_key_id
FROM api_keys
WHERE (made_by_key_id, id) < ($1, $3) AND made_by_key_id >= $1 AND ($2::uuid IS NULL OR program_id IN ($2, test_id($2)))
ORDER BY made_by_key_id DESC, id DESC LIMIT $4
"""
PROGRAM_OF_KEY = "SELECT program_id FROM api_keys WHERE id = $1"
# A revocation waits for requests that create a key with this one, so that no key is created after it.
HOLD_KEY = "SELECT true FROM api_keys WHERE id = $1 AND revoked_at IS NULL FOR SHARE"
CHANGE_KEY = Statement("""
UPDATE api_keys
SET name = CASE WHEN $with_name THEN $name ELSE name END,
    rate_limit_per_minute = CASE WHEN $with_rate_limit THEN $rate_limit_per_minute::int ELSE rate_limit_per_minute END
WHERE id = $id AND program_id = $program_id AND partner_id IS NOT DISTINCT FROM $partner_id AND revoked_at IS NULL
    AND kind <> 'account'
RETURNING id, program_id, partner_id, kind, purpose, name, scopes, rate_limit_per_minute, created_at, revoked_at,
          made_by_key_id
""")
REVOKE_KEY = """
UPDATE api_keys SET revoked_at = coalesce(revoked_at, $4)
WHERE id = $1 AND program_id = $2 AND partner_id IS NOT DISTINCT FROM $3 AND kind <> 'account'
RETURNING id, program_id, partner_id, kind, purpose, name, scopes, rate_limit_per_minute, created_at, revoked_at,
          made_by_key_id
"""

# With each of the three services.
LIST_USES = """
SELECT key_id, max(last_used_at) AS last_used_at FROM (
    SELECT key_id, last_used_at FROM key_uses WHERE key_id = ANY ($1::uuid[])
    UNION ALL
    SELECT key_id, last_used_at FROM redemption.key_uses_v1 WHERE key_id = ANY ($1::uuid[])
    UNION ALL
    SELECT key_id, last_used_at FROM webhooks.key_uses_v1 WHERE key_id = ANY ($1::uuid[])) used
GROUP BY key_id
"""


async def insert_account(
    connection: Connection,
    account_id: uuid.UUID,
    owner: KeyOwner,
    scopes: Collection[str],
    rate_limit_per_minute: int,
    now: datetime,
) -> None:
    """Write the row of a minting account, if there is none; its owner is the first partner that it mints for."""
    await connection.execute(
        *INSERT_ACCOUNT(
            **_OWNER.of(owner),
            id=account_id,
            purpose=str(account_id),
            scopes=list(scopes),
            digest=secrets.token_bytes(32),
            rate_limit_per_minute=rate_limit_per_minute,
            created_at=now,
        )
    )


async def insert_key(connection: Connection, key: APIKey, digest: bytes) -> bool:
    """Write a key; False if its owner has two live keys of this kind and purpose. The owner's row must be locked."""
    found = await connection.fetchval(
        *INSERT_KEY(**_KEY_VALUES.of(key), **_OWNER.of(key.owner), **_TERMS.of(key.terms), digest=digest)
    )
    return found is not None


async def find_key(connection: Connection, key_id: uuid.UUID, owner: KeyOwner) -> APIKey | None:
    """Read one key of an owner, revoked or not."""
    row = await connection.fetchrow(FIND_KEY, key_id, owner.program_id, owner.partner_id)
    return _key(row) if row else None


async def list_keys(connection: Connection, owner: KeyOwner, after: uuid.UUID | None, limit: int) -> list[APIKey]:
    """Read up to `limit` keys of an owner, newest first, older than `after`."""
    rows = await connection.fetch(LIST_KEYS, owner.program_id, owner.partner_id, after or LAST_ID, limit)
    return [_key(row) for row in rows]


async def list_made(
    connection: Connection, maker_id: uuid.UUID, program_id: uuid.UUID | None, after: uuid.UUID | None, limit: int
) -> list[APIKey]:
    """Read up to `limit` keys that a key created, of a program or of any, newest first, older than `after`.

    For a live program in both modes, for a test tenant in test mode only.
    """
    rows = await connection.fetch(LIST_MADE_KEYS, maker_id, program_id, after or LAST_ID, limit)
    return [_key(row) for row in rows]


async def program_of(connection: Connection, key_id: uuid.UUID) -> uuid.UUID | None:
    """Return the program of a key, in the mode of the key; None if there is no such key."""
    found: uuid.UUID | None = await connection.fetchval(PROGRAM_OF_KEY, key_id)
    return found


async def hold_key(connection: Connection, key_id: uuid.UUID) -> bool:
    """Lock a key against revocation until the transaction ends; False if it is revoked."""
    return await connection.fetchval(HOLD_KEY, key_id) is not None


async def change_key(
    connection: Connection, key_id: uuid.UUID, owner: KeyOwner, changes: Given[KeyDraft]
) -> APIKey | None:
    """Change the name or the rate limit of a live key, whichever is given."""
    row = await connection.fetchrow(
        *CHANGE_KEY(
            **_OWNER.of(owner),
            id=key_id,
            with_name="name" in changes.names,
            name=changes.values.name,
            with_rate_limit="rate_limit_per_minute" in changes.names,
            rate_limit_per_minute=changes.values.rate_limit_per_minute,
        )
    )
    return _key(row) if row else None


async def revoke_key(connection: Connection, key_id: uuid.UUID, owner: KeyOwner, now: datetime) -> APIKey | None:
    """Revoke a key for good; a repeat keeps the first time."""
    row = await connection.fetchrow(REVOKE_KEY, key_id, owner.program_id, owner.partner_id, now)
    return _key(row) if row else None


async def with_uses(connection: Connection, found: Sequence[APIKey]) -> list[APIKey]:
    """Return keys with when they were last used."""
    rows = await connection.fetch(LIST_USES, [key.id for key in found])
    last_used = {row["key_id"]: row["last_used_at"] for row in rows}
    return [replace(key, last_used_at=last_used.get(key.id)) for key in found]


def _key(row: Any) -> APIKey:
    return _KEY(row, owner=_owner(row), terms=_terms(row))


_KEY: Final = Rows(APIKey, "owner", "terms", "last_used_at")
_owner: Final = Rows(KeyOwner)
_terms: Final = Rows(KeyTerms, scopes=tuple)
_KEY_VALUES: Final = Values(("id", "created_at", "made_by_key_id"), APIKey)
_OWNER: Final = Values([each.name for each in fields(KeyOwner)], KeyOwner)
_TERMS: Final = Values([each.name for each in fields(KeyTerms)], KeyTerms)
