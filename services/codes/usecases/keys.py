"""API keys of programs and partners: created, read, changed, rotated, revoked. A key's text is shown once.

Live keys of the program manage test keys too; a test key cannot reach live keys.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation, difference
from services.codes.domain.errors import (
    KeyRevoked,
    MakerRevoked,
    Missing,
    OperatorOnly,
    PublishableNotGrantable,
    ScopesLacking,
    ScopesNotGrantable,
    TooManyLiveKeys,
)
from services.codes.domain.given import Given
from services.codes.domain.keys import (
    PARTNER_RATE_LIMIT,
    APIKey,
    KeyDraft,
    KeyKind,
    KeyOwner,
    KeyTerms,
    OwnerRef,
    ShownKey,
)
from services.codes.domain.partners import Partner
from services.codes.domain.programs import Program
from services.codes.store import audit, keys, partners, programs
from shared import api_keys
from shared.clock import Clock
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.idempotency import Answer, Once
from shared.modes import in_mode, is_test, mode_of

# A forgotten account is only written once more.
_KNOWN_LIMIT = 10_000


async def find_owner(connection: Connection, actor: Actor, ref: OwnerRef) -> KeyOwner:
    """Return the owner; raises Missing."""
    confined_to = _confined_to(actor, ref)
    if ref.partner_id is not None:
        return _of_partner(await partners.find_partner(connection, ref.partner_id, confined_to))
    if ref.program_id is None or confined_to not in (None, ref.program_id):
        raise Missing
    return _of_program(await programs.find_program(connection, ref.program_id))


async def lock_owner(connection: Connection, actor: Actor, ref: OwnerRef) -> KeyOwner:
    """Return the owner as `find_owner` does, and lock it against new keys until the transaction ends."""
    confined_to = _confined_to(actor, ref)
    if ref.partner_id is not None:
        return _of_partner(await partners.lock_partner(connection, ref.partner_id, confined_to))
    if ref.program_id is None or confined_to not in (None, ref.program_id):
        raise Missing
    return _of_program(await programs.lock_program(connection, ref.program_id))


async def owner_of_key(connection: Connection, ref: OwnerRef, key_id: uuid.UUID) -> OwnerRef:
    """Return the owner that a request names, in the mode of one of its keys, which the request does not state."""
    program_id = await keys.program_of(connection, key_id)
    return ref if program_id is None else ref.in_mode(test=is_test(program_id))


def audited_in(actor: Actor, owner: KeyOwner) -> uuid.UUID:
    """Return whose audit log records a change of a key: that in the actor's mode."""
    return in_mode(owner.program_id, test=actor.is_test)


def _confined_to(actor: Actor, ref: OwnerRef) -> uuid.UUID | None:
    if actor.program_id is None:
        return None
    return in_mode(actor.program_id, test=actor.is_test or ref.is_test)


def _of_partner(partner: Partner | None) -> KeyOwner:
    if partner is None:
        raise Missing
    return KeyOwner(partner.program_id, partner.id)


def _of_program(program: Program | None) -> KeyOwner:
    if program is None:
        raise Missing
    return KeyOwner(program.id, None)


@dataclass(frozen=True, slots=True)
class CreateKey:
    """An owner has at most two live keys of one kind and purpose, so that one can be replaced without a gap."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]

    async def __call__(self, actor: Actor, ref: OwnerRef, draft: KeyDraft, once: Once[ShownKey]) -> Answer:
        """Create the key.

        Raises Missing, OperatorOnly, PublishableNotGrantable, ScopesNotGrantable, ScopesLacking, MakerRevoked or
        TooManyLiveKeys.
        """

        async def work(connection: Connection, now: datetime) -> ShownKey:
            owner = await lock_owner(connection, actor, ref)
            return await add_key(connection, actor, owner, _terms(actor, owner, draft), self.new_id(), now)

        return await self.answer_once(once, work)


async def add_key(
    connection: Connection, actor: Actor, owner: KeyOwner, terms: KeyTerms, key_id: uuid.UUID, now: datetime
) -> ShownKey:
    """Create and write a key; the owner must be locked. Raises ScopesLacking, MakerRevoked or TooManyLiveKeys."""
    if _is_bounded(owner, terms.kind) and (lacking := actor.lacks(terms.scopes)):
        raise ScopesLacking(lacking)
    # A revoked key may stay in the cache for a moment, but no key may be created after its revocation.
    # An account is revoked elsewhere, and its tokens are valid for a minute.
    if actor.key_id is not None and not actor.is_account and not await keys.hold_key(connection, actor.key_id):
        raise MakerRevoked
    made = api_keys.generate(terms.kind, key_id, mode_of(owner.program_id))
    key = APIKey(id=made.key_id, owner=owner, terms=terms, created_at=now, revoked_at=None, made_by_key_id=actor.key_id)
    if not await keys.insert_key(connection, key, made.digest):
        raise TooManyLiveKeys
    delta = {**creation(key), "mode": {"to": key.mode}}
    await audit.record(connection, actor, audited_in(actor, owner), "key.created", key.id, delta, now=now)
    return ShownKey(key, made.text)


def _terms(actor: Actor, owner: KeyOwner, draft: KeyDraft) -> KeyTerms:
    is_partner = owner.partner_id is not None
    if is_partner and draft.kind == "publishable":
        raise PublishableNotGrantable
    if not is_partner and draft.is_rate_limit_given and not actor.is_operator:
        raise OperatorOnly
    allowed = _grantable(is_partner=is_partner, is_secret=draft.kind == "secret")
    wanted = draft.scopes
    if wanted is None:
        wanted = tuple(allowed.difference(actor.lacks(allowed)) if _is_bounded(owner, draft.kind) else allowed)
    scopes = tuple(sorted(set(wanted)))
    if not scopes or not allowed.issuperset(scopes):
        raise ScopesNotGrantable(allowed)
    limit = PARTNER_RATE_LIMIT if is_partner else None
    if draft.is_rate_limit_given:
        limit = draft.rate_limit_per_minute
    return KeyTerms(draft.kind, draft.purpose, draft.name, scopes, limit)


def _is_bounded(owner: KeyOwner, kind: KeyKind) -> bool:
    """Return whether the creator of a key needs its scopes; partners' and publishable keys only need `manage`."""
    return owner.partner_id is None and kind == "secret"


def _grantable(*, is_partner: bool, is_secret: bool) -> frozenset[str]:
    if is_partner:
        return api_keys.PARTNER_SCOPES
    return api_keys.PROGRAM_SCOPES if is_secret else api_keys.PUBLISHABLE_SCOPES


@dataclass(frozen=True, slots=True)
class AdmitAccount:
    """Gives a minting account a rate window, like a key's: the same for all its partners and both modes."""

    database: Database
    clock: Clock
    _known: set[uuid.UUID] = field(default_factory=set)

    async def __call__(self, account_id: uuid.UUID, program_id: uuid.UUID, partner_id: uuid.UUID) -> None:
        """Ensure that the account can be charged; a repeat does nothing, since its row is permanent."""
        if account_id in self._known:
            return
        owner = KeyOwner(program_id, partner_id)
        async with self.database.connection() as connection:
            await keys.insert_account(
                connection, account_id, owner, api_keys.PARTNER_SCOPES, PARTNER_RATE_LIMIT, self.clock()
            )
        if len(self._known) >= _KNOWN_LIMIT:
            self._known.clear()
        self._known.add(account_id)


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """A page of the keys of a program or a partner, including revoked ones."""

    database: Database

    async def __call__(self, actor: Actor, ref: OwnerRef, after: uuid.UUID | None, limit: int) -> list[APIKey]:
        """Return up to `limit` keys, newest first, older than `after`; raises Missing."""
        async with self.database.connection() as connection:
            owner = await find_owner(connection, actor, ref)
            return await keys.with_uses(connection, await keys.list_keys(connection, owner, after, limit))

    async def made_by(self, actor: Actor, maker_id: uuid.UUID, after: uuid.UUID | None, limit: int) -> list[APIKey]:
        """Return the keys that a key created, of any owner that the actor can reach."""
        async with self.database.connection() as connection:
            made = await keys.list_made(connection, maker_id, actor.program_id, after, limit)
            return await keys.with_uses(connection, made)


@dataclass(frozen=True, slots=True)
class ChangeKey:
    """A program sets its partners' rate limits; only the operator sets those of its own keys."""

    database: Database
    clock: Clock

    async def __call__(self, actor: Actor, ref: OwnerRef, key_id: uuid.UUID, changes: Given[KeyDraft]) -> APIKey:
        """Apply `name` and `rate_limit_per_minute` if given; raises Missing, KeyRevoked or OperatorOnly."""
        async with self.database.transaction() as connection:
            owner = await lock_owner(connection, actor, await owner_of_key(connection, ref, key_id))
            if owner.partner_id is None and "rate_limit_per_minute" in changes.names and not actor.is_operator:
                raise OperatorOnly
            before = await keys.find_key(connection, key_id, owner)
            key = await keys.change_key(connection, key_id, owner, changes)
            if before is None:
                raise Missing
            if key is None:
                raise KeyRevoked
            if delta := difference(before.terms, key.terms):
                whose = audited_in(actor, owner)
                await audit.record(connection, actor, whose, "key.updated", key.id, delta, now=self.clock())
            [shown] = await keys.with_uses(connection, [key])
        return shown


@dataclass(frozen=True, slots=True)
class RotateKey:
    """Purpose, name, scopes and rate limit are passed on."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]

    async def __call__(self, actor: Actor, ref: OwnerRef, key_id: uuid.UUID, once: Once[ShownKey]) -> Answer:
        """Create the successor; raises Missing, KeyRevoked, ScopesLacking, MakerRevoked or TooManyLiveKeys."""

        async def work(connection: Connection, now: datetime) -> ShownKey:
            owner = await lock_owner(connection, actor, await owner_of_key(connection, ref, key_id))
            key = await keys.find_key(connection, key_id, owner)
            if key is None:
                raise Missing
            if key.revoked_at is not None:
                raise KeyRevoked
            return await add_key(connection, actor, owner, key.terms, self.new_id(), now)

        return await self.answer_once(once, work)


@dataclass(frozen=True, slots=True)
class RevokeKey:
    """Takes effect at once for mints, within five seconds for requests with cached keys."""

    database: Database
    clock: Clock

    async def __call__(self, actor: Actor, ref: OwnerRef, key_id: uuid.UUID) -> APIKey:
        """Revoke the key; a repeat changes nothing. Raises Missing."""
        now = self.clock()
        async with self.database.transaction() as connection:
            owner = await find_owner(connection, actor, await owner_of_key(connection, ref, key_id))
            key = await keys.revoke_key(connection, key_id, owner, now)
            if key is None:
                raise Missing
            if key.revoked_at == now:
                delta = {"revoked_at": {"from": None, "to": now.isoformat()}}
                await audit.record(connection, actor, audited_in(actor, owner), "key.revoked", key.id, delta, now=now)
            [shown] = await keys.with_uses(connection, [key])
        return shown
