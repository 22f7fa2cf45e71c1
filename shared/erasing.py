"""Removes a customer from what services store: JSON of any shape, events, and text that is not JSON.

A customer has keys, `id:…` and `email:…` (a mailbox). Each is replaced by its digest. Other members of the same
object that may be personal (attributes, further members of lines, reasons) are removed with it.

A mailbox is found in any text. An id may be any word, so it is found by the names of members, and anywhere in what a
program has written itself (`is_free`: its own messages, metadata, attributes).
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Literal

from shared.erased_words import is_folded_in, is_phrase, needles, without_phrase, words
from shared.mailboxes import mailbox

ID_KEY: Final = "id:"
MAILBOX_KEY: Final = "email:"
ERASED: Final = "erased"
JobKind = Literal["export", "erase"]

# Members that hold a customer's id, or several, objects about a customer, and free text next to these.
_PEOPLE: Final = frozenset(
    {"customer", "buyer", "purchaser", "shopper", "client", "user", "member", "person", "contact", "guest", "account"}
    | {"owner"}
)
_OF_IDS: Final = ("_ids", "_id", "_numbers", "_number", "ids", "id")
_OF_NAMES: Final = ("_full_name", "_name")
_REASONS: Final = frozenset({"reason", "void_reason", "cancel_reason"})
_FREE: Final = frozenset({"attributes", "metadata", "items"})
# These do not identify a person, whatever a program has called it.
_THINGS: Final = frozenset({"order_ref", "code", "codes", "program_id", "partner_id", "type", "source", "event_type"})
_LINE: Final = ("product_id", "amount")
_DEEPEST: Final = 4


@dataclass(frozen=True, slots=True)
class CustomerJob:
    """An export or an erasure, as the parts of the services see it; `digests` belong to `keys`, one by one."""

    id: uuid.UUID
    program_id: uuid.UUID
    kind: JobKind
    keys: tuple[str, ...]
    digests: tuple[str, ...]
    actor: str
    created_at: datetime

    @property
    def erasing(self) -> "Erasing":
        """What finds the customer and removes it; an id that is an address stands for its mailbox too."""
        digests = dict(zip(self.keys, self.digests, strict=True))
        addresses = {f"{MAILBOX_KEY}{mailbox(id_)}": digest for id_, digest in self.ids.items() if "@" in id_}
        return Erasing({**addresses, **digests})

    @property
    def ids(self) -> dict[str, str]:
        """The customer's ids, with their replacements."""
        pairs = zip(self.keys, self.digests, strict=True)
        return {key.removeprefix(ID_KEY): digest for key, digest in pairs if key.startswith(ID_KEY)}


@dataclass(frozen=True)
class Erasing:
    """Finds a customer by its keys and replaces them; with `is_about`, the whole object is about the customer."""

    digests: Mapping[str, str]
    is_about: bool = False
    is_free: bool = False
    depth: int = 0

    def about(self) -> "Erasing":
        """Return the eraser for an object that is about the customer, even if it does not name it."""
        return replace(self, is_about=True)

    def free(self) -> "Erasing":
        """Return the eraser for what a program has written itself."""
        return self if self.is_free else replace(self, is_free=True)

    def body(self, raw: bytes) -> bytes | None:
        """Return bytes without the customer; None if they do not contain it."""
        if not self.is_about and not self.may_be_in(raw):
            return None
        try:
            value = json.loads(raw, object_pairs_hook=_object)
        except (ValueError, RecursionError):
            text = raw.decode("utf-8", "surrogateescape")
            erased = self._words(text, takes_ids=True)
            return None if erased == text else erased.encode("utf-8", "surrogateescape")
        erased_value = self.value(value)
        if erased_value == value:
            return None
        return json.dumps(erased_value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

    def may_be_in(self, raw: bytes) -> bool:
        """Return whether bytes may contain the customer: fast, and without false negatives."""
        return is_folded_in(self._needles, raw)

    def value(self, value: Any) -> Any:
        """Return a decoded value without the customer."""
        return self._members(value) if isinstance(value, dict) else self._other(value)

    def text(self, text: str) -> str:
        """Return text without the customer, which may be encoded as in a URL or in JSON."""
        if text[:1] in ("{", "[", '"') and self.depth < _DEEPEST:
            try:
                inner = json.loads(text, object_pairs_hook=_object)
            except (ValueError, RecursionError):
                return self._words(text, takes_ids=self.is_free)
            erased = replace(self, depth=self.depth + 1).value(inner)
            return text if erased == inner else json.dumps(erased, ensure_ascii=False)
        return self._words(text, takes_ids=self.is_free)

    @cached_property
    def _needles(self) -> tuple[bytes, ...]:
        return needles(key.partition(":")[2] for key in self.digests)

    @cached_property
    def _phrases(self) -> list[tuple[str, str]]:
        ids = {key.removeprefix(ID_KEY): digest for key, digest in self.digests.items() if key.startswith(ID_KEY)}
        return [(id_, digest) for id_, digest in ids.items() if is_phrase(id_)]

    def _words(self, text: str, *, takes_ids: bool) -> str:
        if takes_ids:
            if (found := self._word(text)) is not None:
                return found
            for phrase, digest in self._phrases:
                text = without_phrase(text, phrase, digest)
        return words(text, lambda word: self._found(word, takes_ids=takes_ids))

    def _other(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        return [self.value(each) for each in value] if isinstance(value, list) else value

    def _members(self, members: dict[str, Any]) -> dict[str, Any]:
        # An event is about the customer of its data.
        is_about = self.is_about or self._names(members)
        inner = self.about() if is_about and not self.is_about else self
        return {self.text(name): inner.member(name, value) for name, value in members.items()}

    def _names(self, members: Mapping[str, Any]) -> bool:
        return any(
            self._id(value) is not None
            if _is_id(known := _snake(name))
            else _is_person(known) and self._is_customer(value)
            for name, value in members.items()
        )

    def _is_customer(self, value: Any) -> bool:
        """Whether an object is about the customer. One with another id is not, even if it has the same mailbox."""
        if isinstance(value, list):
            return any(self._is_customer(each) for each in value)
        if not isinstance(value, dict):
            return self._id(value) is not None
        if value.get("id") is not None:
            return self._id(value["id"]) is not None
        return self._email(value.get("email")) is not None

    def member(self, name: str, value: Any) -> Any:
        """Return one member of an object without the customer."""
        known = _snake(name)
        if _is_id(known):
            return self._ids(value)
        if _is_person(known):
            return self._customer(value)
        if known in _THINGS and self.is_free:
            return replace(self, is_free=False).value(value)
        inner = self.free() if known in _FREE or known in _REASONS else self
        if not self.is_about or value is None:
            return inner.value(value)
        if name == "attributes" and isinstance(value, dict):
            return dict.fromkeys(value)
        if name == "items" and isinstance(value, list):
            return [_line(each) for each in value]
        if _is_name(known) or (name in _REASONS and isinstance(value, str)):
            return ERASED
        return inner.value(value)

    def _ids(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._ids(each) for each in value]
        return self.value(value) if (found := self._id(value)) is None else found

    def _customer(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._customer(each) for each in value]
        if not isinstance(value, dict):
            return self.value(value) if (found := self._id(value)) is None else found
        erased = self._members(value)
        for name, found in (("id", self._id(value.get("id"))), ("email", self._email(value.get("email")))):
            if found is not None or (self.is_about and not _is_erased(value.get(name))):
                erased[name] = found or ERASED
        if self.is_about or self._is_customer(value):
            # Everything else about a person: a name, a phone number, an address.
            erased |= {
                name: ERASED
                for name, each in erased.items()
                if name not in ("id", "email") and each is not None and not isinstance(each, bool)
            }
        return erased

    def _id(self, value: Any) -> str | None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, str | int):
            return None
        return self.digests.get(f"{ID_KEY}{value}")

    def _email(self, text: Any) -> str | None:
        return self.digests.get(f"{MAILBOX_KEY}{mailbox(text)}") if isinstance(text, str) and text.strip() else None

    def _word(self, text: str) -> str | None:
        """Return the replacement of an id in any text; mere digits may be any number, and need a member's name."""
        return None if text.isdecimal() else self._id(text)

    def _found(self, word: str, *, takes_ids: bool) -> str | None:
        found = self._email(word) if "@" in word or not word.isascii() else None
        return self._word(word) if found is None and takes_ids else found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; one with a duplicate member would hide the first value."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is named twice")
    return members


def _snake(name: str) -> str:
    """Return a member's name as one in snake case: `customerID` is `customer_id`."""
    pairs = zip(name, " " + name, strict=False)
    return (
        "".join(f"_{each}" if each.isupper() and before.islower() else each for each, before in pairs)
        .lower()
        .replace("-", "_")
    )


def _is_id(name: str) -> bool:
    return any(name.endswith(end) and _is_one_person(name.removesuffix(end)) for end in _OF_IDS)


def _is_name(name: str) -> bool:
    return any(name.endswith(end) and _is_one_person(name.removesuffix(end)) for end in _OF_NAMES)


def _is_person(name: str) -> bool:
    return name == "coupon_specific_customers" or _is_one_person(name.removesuffix("s"))


def _is_one_person(name: str) -> bool:
    return name.rpartition("_")[2] in _PEOPLE


def _is_erased(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.startswith(ERASED))


def _line(item: Any) -> Any:
    return {name: item[name] for name in _LINE if name in item} if isinstance(item, dict) else item
