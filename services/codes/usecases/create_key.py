"""Creates an API key for a program or a partner; its text is in the answer and nowhere else."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation
from services.codes.domain.errors import (
    MakerRevoked,
    OperatorOnly,
    PublishableNotGrantable,
    ScopesLacking,
    ScopesNotGrantable,
    TooManyLiveKeys,
)
from services.codes.domain.keys import (
    PARTNER_RATE_LIMIT,
    ApiKey,
    KeyDraft,
    KeyKind,
    KeyOwner,
    KeyTerms,
    OwnerRef,
    ShownKey,
)
from services.codes.store import audit, keys
from services.codes.usecases.key_owner import audited_in, lock_owner
from shared import api_keys
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once
from shared.modes import mode_of


@dataclass(frozen=True, slots=True)
class CreateKey:
    """At most two keys of one owner, kind and purpose are alive, so that one can be replaced without a gap."""

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
    """Make and write a key; the owner must be locked. Raises ScopesLacking, MakerRevoked or TooManyLiveKeys."""
    if _is_bounded(owner, terms.kind) and (lacking := actor.lacks(terms.scopes)):
        raise ScopesLacking(lacking)
    # A revoked key may be known to the cache for a moment; what it made must be complete once it is revoked.
    if actor.key_id is not None and not await keys.hold_key(connection, actor.key_id):
        raise MakerRevoked
    made = api_keys.generate(terms.kind, key_id, mode_of(owner.program_id))
    key = ApiKey(made.key_id, owner, terms, created_at=now, revoked_at=None, made_by_key_id=actor.key_id)
    if not await keys.insert_key(connection, key, made.digest):
        raise TooManyLiveKeys
    told = {**creation(key), "mode": {"to": key.mode}}
    await audit.record(connection, actor, audited_in(actor, owner), "key.created", key.id, told, now)
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
    """Say whether a key can be made only by one that has its scopes; partners' and publishable ones need `manage`."""
    return owner.partner_id is None and kind == "secret"


def _grantable(*, is_partner: bool, is_secret: bool) -> frozenset[str]:
    if is_partner:
        return api_keys.PARTNER_SCOPES
    return api_keys.PROGRAM_SCOPES if is_secret else api_keys.PUBLISHABLE_SCOPES
