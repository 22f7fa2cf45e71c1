"""The audit log: one entry per change, with old and new values."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from typing import Any, Final, Literal

from services.codes.domain.documents import Document
from shared.modes import shown_id

ObjectType = Literal["program", "partner", "key", "quota", "coupon", "promotion_code", "job", "code_order"]

# The member with the currency of each amount: an amount alone says nothing.
_CURRENCIES: Final = {
    "amount_minor": "currency",
    "max_discount_minor": "currency",
    "minimum_minor": "minimum_currency",
    "budget_minor": "budget_currency",
}

# In the entry itself, or counters that nobody changes directly.
_NOT_TOLD: Final = frozenset(
    (
        *("id", "created_at", "updated_at", "made_by_key_id", "created_by_key_id"),
        *("quota", "times_redeemed", "last_redeemed_at"),
    )
)


# Defaults, which need no entry unless a request sets something else.
_AS_EVER: Final = {"opening_uses": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what to which object; `changes` maps members to their old (`from`) and new (`to`) values."""

    id: uuid.UUID
    program_id: uuid.UUID
    actor: str
    action: str
    object_type: ObjectType
    object_id: uuid.UUID
    changes: Document
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """A filter of entries; all given members must match, None matches everything."""

    program_id: uuid.UUID | None = None
    object_id: uuid.UUID | None = None
    object_type: ObjectType | None = None
    actor: str | None = None
    action: str | None = None
    since: date | None = None
    until: date | None = None


def creation(made: object) -> Document:
    """Return the changes of a creation: each member that has a value."""
    members = _members(made)
    return {
        name: {"to": value, **_currencies(name, to=members)}
        for name, value in members.items()
        if value not in (None, (), [], {}) and _AS_EVER.get(name, ...) != value
    }


def difference(before: object, after: object) -> Document:
    """Return the members that differ between two states of an object; a nested member as a whole."""
    old, new = _members(before), _members(after)
    return {
        name: {"from": old[name], "to": new[name], **_currencies(name, old=old, to=new)}
        for name in old
        if old[name] != new[name]
    }


def _currencies(name: str, to: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> dict[str, Any]:
    if (currency := _CURRENCIES.get(name)) is None:
        return {}
    before = {} if old is None else {"from": old.get(currency)}
    return {"currencies": {**before, "to": to.get(currency)}}


def _members(thing: object) -> dict[str, Any]:
    if not is_dataclass(thing):
        raise TypeError("only dataclasses can be compared")
    return {f.name: _plain(getattr(thing, f.name)) for f in fields(thing) if f.name not in _NOT_TOLD}


def _plain(value: object) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return shown_id(value) if isinstance(value, uuid.UUID) else value
