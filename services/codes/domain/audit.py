"""The audit log: one entry for each change that somebody made, with what it was before and what it is since."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from typing import Any, Final, Literal

from services.codes.domain.documents import Document
from shared.modes import shown_id

ObjectType = Literal["program", "partner", "key", "quota", "coupon", "promotion_code", "job"]

# Of each amount the member that says its currency: an amount alone says nothing.
_CURRENCIES: Final = {
    "amount_minor": "currency",
    "max_discount_minor": "currency",
    "minimum_minor": "minimum_currency",
    "budget_minor": "budget_currency",
}

# Said by the entry itself, or by the counters that are no one's change.
_NOT_TOLD: Final = frozenset(
    (
        *("id", "created_at", "updated_at", "made_by_key_id", "created_by_key_id"),
        *("quota", "times_redeemed", "last_redeemed_at"),
    )
)


# What nobody has to be told: it is so unless somebody says otherwise.
_AS_EVER: Final = {"opening_uses": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what to which object; `changes` maps members to what they were (`from`) and are (`to`)."""

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
    """Which entries are asked for, all at once; None asks for nothing."""

    program_id: uuid.UUID | None = None
    object_id: uuid.UUID | None = None
    object_type: ObjectType | None = None
    actor: str | None = None
    action: str | None = None
    since: date | None = None
    until: date | None = None


def creation(made: object) -> Document:
    """Return the changes that an object's making is: each member that has a value."""
    members = _members(made)
    return {
        name: {"to": value, **_currencies(name, to=members)}
        for name, value in members.items()
        if value not in (None, (), [], {}) and _AS_EVER.get(name, ...) != value
    }


def difference(before: object, after: object) -> Document:
    """Return the members of two states of an object that differ; of what nests, the whole member."""
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
        raise TypeError("only dataclasses are told of")
    return {f.name: _plain(getattr(thing, f.name)) for f in fields(thing) if f.name not in _NOT_TOLD}


def _plain(value: object) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return shown_id(value) if isinstance(value, uuid.UUID) else value
