"""Looks API keys up in the view that the codes service publishes; hits are cached for five seconds, misses never."""

import hmac
import uuid
from dataclasses import dataclass

from shared import api_keys
from shared.api_keys import Credential
from shared.clock import Clock
from shared.database.pool import Database

CACHE_SECONDS = 5.0
_CACHE_LIMIT = 10_000

FIND_CREDENTIAL = """
SELECT key_id, digest, kind, scopes, rate_limit_per_minute, program_id, program_name,
       partner_id, partner_name, partner_status, revoked_at
FROM codes.credential_v1 WHERE key_id = $1
"""


@dataclass(frozen=True, slots=True)
class _Hit:
    credential: Credential
    expires_at: float


class CredentialReader:
    """Finds the live credential behind a presented key.

    A revocation takes effect everywhere within five seconds, since only hits are cached, and none for longer.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._hits: dict[str, _Hit] = {}

    async def find(self, text: str) -> Credential | None:
        """Return the credential of a key that is well formed, known, not revoked and whose digest matches."""
        now = self._clock().timestamp()
        hit = self._hits.get(text)
        if hit is not None and 0 <= hit.expires_at - now <= CACHE_SECONDS:
            return hit.credential
        self._hits.pop(text, None)
        parsed = api_keys.parse(text)
        if parsed is None:
            return None
        credential = await self._load(parsed.key_id)
        if credential is None or not hmac.compare_digest(credential.digest, parsed.digest) or credential.revoked_at:
            return None
        if len(self._hits) >= _CACHE_LIMIT:
            self._hits.clear()
        self._hits[text] = _Hit(credential, now + CACHE_SECONDS)
        return credential

    async def _load(self, key_id: uuid.UUID) -> Credential | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(FIND_CREDENTIAL, key_id)
        if row is None:
            return None
        return Credential(**{**row, "scopes": frozenset(row["scopes"])})
