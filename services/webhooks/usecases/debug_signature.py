"""Verifies a signature as a receiver would and explains what is wrong; it never reveals the correct signature."""

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.webhooks.domain.debugging import Finding, Sent, Verifier, examine, hmac_verifier, message_name_in
from services.webhooks.domain.endpoints import Endpoint, Owner
from services.webhooks.domain.errors import EndpointMissing, InvalidField, SecretUnreadable
from services.webhooks.domain.names import message_id_of
from services.webhooks.domain.signature import PUBLIC_PREFIX, SigningKey, decode
from services.webhooks.sender.signing import is_signed_by, pair_of, read_key, secret_text
from services.webhooks.store import endpoints, messages, signing_keys
from services.webhooks.store.signing_keys import OpenedKey
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.database.sealing import Seal


@dataclass(frozen=True, slots=True)
class DebugSignature:
    """Examines a message with a key that the caller supplies, or with the keys and sent messages of an endpoint."""

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
        """Return the finding. `key` is the id of an endpoint or the text of a key.

        Raises EndpointMissing, InvalidField or SecretUnreadable.
        """
        now = self.clock()
        seconds = int(now.timestamp())
        if isinstance(key, str):
            return await asyncio.to_thread(examine, headers, body, [_given_verifier(key)], seconds, tolerance)
        async with self.database.connection() as connection:
            endpoint = await endpoints.find(connection, owner, key)
            if endpoint is None:
                raise EndpointMissing(f"There is no endpoint with id {key}.")
            live, ended = await self._keys(connection, endpoint, now)
            sent = await _sent_message(connection, endpoint.id, headers)
        # For a large body with many signatures this is much work, and other requests must not wait for it.
        return await asyncio.to_thread(examine, headers, body, live, seconds, tolerance, ended=ended, sent=sent)

    async def _keys(
        self, connection: Connection, endpoint: Endpoint, now: datetime
    ) -> tuple[list[Verifier], list[Verifier]]:
        keys = await signing_keys.list_opened(connection, self.seal, endpoint, now)
        live = _verifiers(keys)
        if keys and not live:
            raise SecretUnreadable
        return live, _verifiers(await signing_keys.list_ended(connection, self.seal, endpoint, now))


async def _sent_message(connection: Connection, endpoint_id: uuid.UUID, headers: Mapping[str, str]) -> Sent:
    message_id = message_id_of(message_name_in(headers))
    found = None if message_id is None else await messages.sent_to(connection, endpoint_id, message_id)
    return Sent(is_known=False) if found is None else found


def _verifiers(keys: Iterable[OpenedKey]) -> list[Verifier]:
    return [_verifier(str(each.id), each.key) for each in keys if each.key is not None]


def _given_verifier(text: str) -> Verifier:
    try:
        if text.startswith(PUBLIC_PREFIX):
            return _public_verifier("given", decode(text, PUBLIC_PREFIX))
        return _verifier("given", read_key(text).key)
    except ValueError as error:
        raise InvalidField("key", str(error)) from None


def _verifier(name: str, key: SigningKey) -> Verifier:
    if key.algorithm == "hmac":
        return hmac_verifier(name, key.secret, secret_text(key))
    return _public_verifier(name, pair_of(key).public_key or b"")


def _public_verifier(name: str, public: bytes) -> Verifier:
    def matches(content: bytes, given: Sequence[bytes]) -> bool:
        return any(is_signed_by(public, content, each) for each in given)

    return Verifier(name, "v1a", matches)
