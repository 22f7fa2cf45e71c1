"""API keys as their owners see them: everything but the secret, which is shown once and never stored."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

KeyKind = Literal["secret", "publishable"]

PARTNER_RATE_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """A program, or a partner of one."""

    program_id: uuid.UUID
    partner_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class OwnerRef:
    """An owner as a request names it: the id of a partner, or else that of a program."""

    program_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class KeyDraft:
    """A key to be made. Without scopes it gets all that its maker can give; `rate_limit_per_minute` counts if given."""

    kind: KeyKind = "secret"
    purpose: str = "default"
    name: str | None = None
    scopes: tuple[str, ...] | None = None
    rate_limit_per_minute: int | None = None
    is_rate_limit_given: bool = False


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key is for and what it may do; a rotation hands them down."""

    kind: KeyKind
    purpose: str
    name: str | None
    scopes: tuple[str, ...]
    rate_limit_per_minute: int | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored; `made_by_key_id` is the key that made it, None for the operator."""

    id: uuid.UUID
    owner: KeyOwner
    terms: KeyTerms
    created_at: datetime
    revoked_at: datetime | None
    made_by_key_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key just made, with the text that is shown once."""

    key: ApiKey
    text: str

    def __repr__(self) -> str:
        return f"ShownKey({self.key.id})"
