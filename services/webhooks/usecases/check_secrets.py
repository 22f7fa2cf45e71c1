"""Decrypts every stored secret periodically, so that an unreadable one is found before it is needed.

Secrets encrypted by an older key or in the first form are encrypted again on the way; once none of that form is left,
it is closed. An endpoint with an unreadable secret is marked and its event is emitted once, by the first process that
finds it. A process that can decrypt nothing has the wrong key: it reports that and marks nothing, because others may
have the right one.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final, get_args

from services.webhooks.domain.secrets import SecretKind, missing_secret
from services.webhooks.store import sealed
from services.webhooks.store.sealed import SealedEndpoint
from services.webhooks.usecases import endpoint_events
from services.webhooks.usecases.endpoint_events import HandOver
from shared.clock import Clock
from shared.database import outbox
from shared.database.idempotency import check_answers
from shared.database.pool import Database
from shared.database.seal_forms import SealForms
from shared.database.sealing import Looked, Seal, SealCheck
from shared.known_ids import FIRST_ID
from shared.log import get_logger
from shared.metrics import SECRETS_UNREADABLE
from shared.periodic import ElementsFailed, Periodic, together_or_each

INTERVAL_SECONDS: Final = 60.0
# While processes disagree about an endpoint, its event is emitted no more often than this.
QUIET: Final = timedelta(hours=1)
_PAGE: Final = 200
_MOST_LOGGED: Final = 20
_WRONG_KEY: Final = "It decrypts none of the stored secrets. Append the key that encrypted them, separated by a comma."


@dataclass(slots=True)
class _Round:
    """What one round has found about endpoints in use; `missing` has the version that was checked."""

    check: SealCheck
    endpoints: int = 0
    missing: dict[uuid.UUID, tuple[SecretKind, int]] = field(default_factory=dict)
    mended: list[uuid.UUID] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)


@dataclass(slots=True)
class CheckSecrets:
    """A periodic task whose result is part of the service's readiness."""

    database: Database
    clock: Clock
    seal: Seal
    hand_over: HandOver
    name: str = "secrets"
    task: Periodic = field(init=False)
    is_ready: bool = False
    _has_wrong_key: bool = field(default=False, init=False)
    """Whether the configured keys can decrypt none of the stored secrets."""
    _state: str = "not checked yet"
    _missing: Mapping[uuid.UUID, SecretKind] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.task = Periodic("check_secrets", INTERVAL_SECONDS, self, wake=self._wake)

    @property
    def state(self) -> str:
        """`ok`, or a summary of what cannot be decrypted."""
        return self._state

    def observe(self, endpoint_id: uuid.UUID, missing: SecretKind | None) -> None:
        """Take in what another part has found about an endpoint; a change is checked at once."""
        if missing != self._missing.get(endpoint_id):
            self._wake.set()

    async def __call__(self) -> None:
        """Check everything once."""
        forms = SealForms(self.database, self.seal)
        check = SealCheck(self.seal, renews_first_form=await forms.learn())
        answers = SealCheck(self.seal, renews_first_form=check.renews_first_form)
        found = await self._look_at_endpoints(check)
        await check_answers(self.database, answers)
        if check.renewed + answers.renewed:
            get_logger().info("secrets_resealed", count=check.renewed + answers.renewed)
        is_left = check.waiting + answers.waiting > 0 or bool(found.failed)
        if check.renews_first_form and self.seal.accepts_first_form and not is_left:
            await forms.close()
        await self._conclude(found, answers)
        if found.failed:
            raise ElementsFailed(found.failed)

    async def _look_at_endpoints(self, check: SealCheck) -> _Round:
        found, after = _Round(check), FIRST_ID
        while True:
            async with self.database.connection() as connection:
                page = await sealed.list_page(connection, after, _PAGE)
            for endpoint in page:
                found.failed += [error for _, error in await together_or_each([endpoint], partial(self._look, found))]
            # Before the end of the round: a process that can decrypt something is ready.
            self.is_ready = self.is_ready or check.readable > 0
            if len(page) < _PAGE:
                return found
            after = page[-1].id

    async def _look(self, found: _Round, endpoints: Sequence[SealedEndpoint]) -> None:
        for endpoint in endpoints:
            await self._look_at(endpoint, found)

    async def _look_at(self, endpoint: SealedEndpoint, found: _Round) -> None:
        check, whose = found.check, (endpoint.program_id, endpoint.partner_id, endpoint.id)
        places = [sealed.key_place(*whose, each.id, each.algorithm) for each in endpoint.keys]
        keys = [(each, check.look(each.sealed, at)) for each, at in zip(endpoint.keys, places, strict=True)]
        auth = None if endpoint.auth is None else check.look(endpoint.auth, sealed.auth_place(*whose))
        client_key = self._look_at_client_key(endpoint, check)
        renewals = [(each.id, each.sealed, looked.renewed) for each, looked in keys if looked.renewed is not None]
        if renewals or any(each is not None and each.renewed is not None for each in (auth, client_key)):
            await self._renew(endpoint, renewals, auth, client_key)
        if endpoint.is_archived:
            return
        opened = [(each.algorithm, looked.is_readable) for each, looked in keys]
        has_auth = not endpoint.has_auth if auth is None else auth.is_readable
        has_client_key = endpoint.fingerprint is None if client_key is None else client_key.is_readable
        missing = missing_secret(endpoint.signing, opened, has_readable_auth=has_auth and has_client_key)
        found.endpoints += 1
        if missing is not None:
            found.missing[endpoint.id] = missing, endpoint.version
        elif endpoint.is_marked:
            found.mended.append(endpoint.id)

    def _look_at_client_key(self, endpoint: SealedEndpoint, check: SealCheck) -> Looked | None:
        if endpoint.client_key is None or endpoint.fingerprint is None:
            return None
        whose = (endpoint.program_id, endpoint.partner_id, endpoint.id)
        return check.look(endpoint.client_key, sealed.client_key_place(*whose, endpoint.fingerprint))

    async def _renew(
        self,
        endpoint: SealedEndpoint,
        keys: Collection[tuple[uuid.UUID, bytes, bytes]],
        auth: Looked | None,
        client_key: Looked | None,
    ) -> None:
        async with self.database.connection() as connection:
            for key_id, before, renewed in keys:
                await sealed.renew_key(connection, key_id, before, renewed)
            if endpoint.auth is not None and auth is not None and auth.renewed is not None:
                await sealed.renew_auth(connection, endpoint.id, endpoint.auth, auth.renewed)
            if endpoint.client_key is not None and client_key is not None and client_key.renewed is not None:
                await sealed.renew_client_key(connection, endpoint.id, endpoint.client_key, client_key.renewed)

    async def _conclude(self, found: _Round, answers: SealCheck) -> None:
        before, self._missing = self._missing, {id_: kind for id_, (kind, _) in found.missing.items()}
        kinds = Counter(self._missing.values())
        for kind in get_args(SecretKind):
            SECRETS_UNREADABLE.labels(kind).set(kinds[kind])
        SECRETS_UNREADABLE.labels("answer").set(answers.unreadable)
        if found.check.has_wrong_key and not self._has_wrong_key:
            get_logger().error("secret_key_mismatched", variable="WEBHOOKS_SECRET_KEY", hint=_WRONG_KEY)
        self._has_wrong_key = found.check.has_wrong_key
        self.is_ready = not self._has_wrong_key
        self._state = _describe(found, answers)
        _log(before, self._missing, found.endpoints)
        await self._note(found)

    async def _note(self, found: _Round) -> None:
        """Mark the endpoints whose secrets became unreadable or readable, and write the events."""
        now = self.clock()
        missing = found.missing if self.is_ready else {}
        if not missing and not found.mended:
            return
        versions = {id_: version for id_, (_, version) in missing.items()}
        async with self.database.transaction() as connection:
            lost = await sealed.mark_unreadable(connection, versions, now, QUIET)
            mended = await sealed.mark_readable(connection, found.mended, now)
            # Listeners get the error when they ask for messages.
            events = [
                endpoint_events.secret_unreadable_event(each, missing[each.id][0], now)
                for each in lost
                if not each.is_listener
            ]
            events += [endpoint_events.secret_readable_event(each, now) for each in mended if not each.is_listener]
            await outbox.insert_events(connection, events)
        self.hand_over(events)


def _log(before: Mapping[uuid.UUID, SecretKind], missing: Mapping[uuid.UUID, SecretKind], total: int) -> None:
    log = get_logger()
    new = missing.keys() - before.keys()
    for endpoint_id in sorted(new)[:_MOST_LOGGED]:
        log.error("secret_not_decrypted", endpoint_id=str(endpoint_id), kind=missing[endpoint_id])
    if new:
        log.error("secrets_not_decrypted", endpoints=len(missing), of=total)
    for endpoint_id in sorted(before.keys() - missing.keys())[:_MOST_LOGGED]:
        log.info("secret_decrypted", endpoint_id=str(endpoint_id))


def _describe(found: _Round, answers: SealCheck) -> str:
    parts = []
    if found.missing:
        parts.append(f"{len(found.missing)} of {found.endpoints} endpoints have a secret that cannot be decrypted")
    if answers.unreadable:
        parts.append(
            f"{answers.unreadable} of {answers.unreadable + answers.readable} kept answers cannot be decrypted"
        )
    return "; ".join(parts) or "ok"
