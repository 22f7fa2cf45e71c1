"""Looks API keys up in the view that the codes service publishes; hits are cached for five seconds, misses never."""

import hmac
import uuid

from shared import api_keys
from shared.api_keys import Credential
from shared.clock import Clock
from shared.database.hits import Hits
from shared.database.key_uses import KeyUses
from shared.database.pool import Database

FIND_CREDENTIAL = """
SELECT key_id, digest, kind, scopes, rate_limit_per_minute, program_id, program_name,
       partner_id, partner_name, partner_status, revoked_at
FROM codes.credential_v1 WHERE key_id = $1
"""


class CredentialReader:
    """Finds the live credential behind a presented key.

    A revocation takes effect everywhere within five seconds, since only hits are cached, and none for longer. `uses`
    takes note of each key that is found.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._hits: Hits[str, Credential] = Hits()
        self.uses = KeyUses(database)

    async def find(self, text: str) -> Credential | None:
        """Return the credential of a key that is well formed, known, not revoked and whose digest matches."""
        now = self._clock().timestamp()
        if (known := self._hits.get(text, now)) is not None:
            self.uses.note(known.key_id, now)
            return known
        parsed = api_keys.parse(text)
        if parsed is None:
            return None
        credential = await self._load(parsed.key_id)
        if credential is None or not hmac.compare_digest(credential.digest, parsed.digest) or credential.revoked_at:
            return None
        self._hits.put(text, credential, now)
        self.uses.note(credential.key_id, now)
        return credential

    async def _load(self, key_id: uuid.UUID) -> Credential | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(FIND_CREDENTIAL, key_id)
        if row is None:
            return None
        return Credential(**{**row, "scopes": frozenset(row["scopes"])})
