"""Verifies a signature as a receiver would and says what is wrong; it never shows what would be right."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from services.webhooks.domain.debugging import Finding, Verifier, examine, hmac_verifier
from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.errors import EndpointMissing, InvalidField, SecretUnreadable
from services.webhooks.domain.signature import PUBLIC_PREFIX, SigningKey, decode
from services.webhooks.sender.signing import is_signed_by, pair_of, read_key
from services.webhooks.store import endpoints, signing_keys
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.sealing import Seal


@dataclass(frozen=True, slots=True)
class DebugSignature:
    """Examines a message with a key that the caller has, or with the live keys of an endpoint."""

    database: Database
    clock: Clock
    seal: Seal

    async def __call__(
        self,
        owner: Owner,
        key: uuid.UUID | str,
        headers: Mapping[str, str],
        body: bytes,
        tolerance: int,
    ) -> Finding:
        """Return what was found. `key` is an endpoint or a key's text.

        Raises EndpointMissing, InvalidField or SecretUnreadable.
        """
        now = self.clock()
        verifiers = [_given(key)] if isinstance(key, str) else await self._of_endpoint(owner, key)
        return examine(headers, body, verifiers, int(now.timestamp()), tolerance)

    async def _of_endpoint(self, owner: Owner, endpoint_id: uuid.UUID) -> list[Verifier]:
        async with self.database.connection() as connection:
            endpoint = await endpoints.find(connection, owner, endpoint_id)
            if endpoint is None:
                raise EndpointMissing
            keys = await signing_keys.opened(connection, self.seal, endpoint, self.clock())
        verifiers = [_verifier(str(each.id), each.key) for each in keys if each.key is not None]
        if keys and not verifiers:
            raise SecretUnreadable
        return verifiers


def _given(text: str) -> Verifier:
    try:
        if text.startswith(PUBLIC_PREFIX):
            public = decode(text, PUBLIC_PREFIX)
            return Verifier("given", "v1a", lambda content, signature: is_signed_by(public, content, signature))
        return _verifier("given", read_key(text).key, text)
    except ValueError as error:
        raise InvalidField("key", str(error)) from None


def _verifier(name: str, key: SigningKey, text: str | None = None) -> Verifier:
    if key.algorithm == "hmac":
        return hmac_verifier(name, key.secret, text)
    public = pair_of(key).public_key or b""
    return Verifier(name, "v1a", lambda content, signature: is_signed_by(public, content, signature))
