"""API keys as their owners see them: everything but the secret, which is shown once and never stored."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from shared.modes import Mode, in_mode, is_test, mode_of

KeyKind = Literal["secret", "publishable"]

PARTNER_RATE_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """A program, or a partner of one."""

    program_id: uuid.UUID
    partner_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class OwnerRef:
    """An owner named in a request: the id of a partner, or else of a program; the tenant in either mode."""

    program_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None

    @property
    def is_test(self) -> bool:
        """Whether test keys are meant."""
        owner_id = self.partner_id or self.program_id
        return owner_id is not None and is_test(owner_id)

    def in_mode(self, *, test: bool) -> "OwnerRef":
        """Return the same owner in a mode."""
        if self.partner_id is not None:
            return OwnerRef(partner_id=in_mode(self.partner_id, test=test))
        return self if self.program_id is None else OwnerRef(program_id=in_mode(self.program_id, test=test))


@dataclass(frozen=True, slots=True)
class KeyDraft:
    """A new key. Without scopes it gets all that its creator can grant; `rate_limit_per_minute` counts if given."""

    kind: KeyKind = "secret"
    purpose: str = "default"
    name: str | None = None
    scopes: tuple[str, ...] | None = None
    rate_limit_per_minute: int | None = None
    is_rate_limit_given: bool = False


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """The purpose and rights of a key; a rotation passes them on."""

    kind: KeyKind
    purpose: str
    name: str | None
    scopes: tuple[str, ...]
    rate_limit_per_minute: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class APIKey:
    """A key as stored; `made_by_key_id` is the key that created it, None for the operator.

    `last_used_at` is to the minute, with any service, and a minute late; None if it was never used.
    """

    id: uuid.UUID
    owner: KeyOwner
    terms: KeyTerms
    created_at: datetime
    revoked_at: datetime | None
    made_by_key_id: uuid.UUID | None = None
    last_used_at: datetime | None = None

    @property
    def mode(self) -> Mode:
        """The mode of its owner."""
        return mode_of(self.owner.program_id)


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A new key, with the text that is shown once."""

    key: APIKey
    text: str

    def __repr__(self) -> str:
        return f"ShownKey({self.key.id})"
