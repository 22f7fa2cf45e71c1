"""Takes a customer out of what services keep: JSON of any shape, events, and text that cannot be read as JSON.

A customer has keys, `id:…` and `email:…` (a mailbox). Each is replaced by its digest. What is said beside the
customer in the same object and may be personal (attributes, further members of lines, reasons) goes with it.
"""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from shared.mailboxes import mailbox

ID_KEY: Final = "id:"
MAILBOX_KEY: Final = "email:"
ERASED: Final = "erased"
JobKind = Literal["export", "erase"]

# Members that hold a customer's id, objects about a customer, and free text next to either.
_IDS: Final = frozenset({"customer_id", "customerId"})
_CUSTOMERS: Final = frozenset({"customer", "coupon_specific_customers"})
_NAMES: Final = frozenset({"customer_name", "customerName", "customer_full_name"})
_REASONS: Final = frozenset({"reason", "void_reason", "cancel_reason"})
_LINE: Final = ("product_id", "amount")
# A run of characters of an address or id: each is looked at once, however long the text is.
_TOKEN: Final = re.compile(r"""[^\s"'<>(),;:\[\]{}\\/=&?|]+""")


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
        """What finds the customer, and takes it out."""
        return Erasing(dict(zip(self.keys, self.digests, strict=True)))

    @property
    def ids(self) -> dict[str, str]:
        """The customer's ids, with what replaces them."""
        pairs = zip(self.keys, self.digests, strict=True)
        return {key.removeprefix(ID_KEY): digest for key, digest in pairs if key.startswith(ID_KEY)}


@dataclass(frozen=True, slots=True)
class Erasing:
    """Finds a customer by its keys and replaces them; with `is_about` the whole is known to be about the customer."""

    digests: Mapping[str, str]
    is_about: bool = False

    def about(self) -> "Erasing":
        """Return what takes out of an object that is about the customer, even if it does not name it."""
        return replace(self, is_about=True)

    def body(self, raw: bytes) -> bytes | None:
        """Return bytes without the customer; None if it is not in them."""
        try:
            value = json.loads(raw, object_pairs_hook=_object)
        except (ValueError, RecursionError):
            text = raw.decode("utf-8", "surrogateescape")
            erased = _TOKEN.sub(lambda found: self._token(found[0], takes_ids=True), text)
            return None if erased == text else erased.encode("utf-8", "surrogateescape")
        erased_value = self.value(value)
        if erased_value == value:
            return None
        return json.dumps(erased_value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

    def value(self, value: Any) -> Any:
        """Return a decoded value without the customer."""
        return self._members(value) if isinstance(value, dict) else self._other(value)

    def text(self, text: str) -> str:
        """Return text without the customer's addresses."""
        return _TOKEN.sub(lambda found: self._token(found[0]), text) if "@" in text else text

    def _other(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        return [self.value(each) for each in value] if isinstance(value, list) else value

    def _members(self, members: dict[str, Any]) -> dict[str, Any]:
        # An event is about whom its data is about.
        is_about = self.is_about or self._names(members)
        inner = self.about() if is_about and not self.is_about else self
        return {name: inner.member(name, value) for name, value in members.items()}

    def _names(self, members: Mapping[str, Any]) -> bool:
        return any(
            self._id(value) is not None if name in _IDS else name in _CUSTOMERS and self._is_customer(value)
            for name, value in members.items()
        )

    def _is_customer(self, value: Any) -> bool:
        """Whether an object is about the customer. One with another's id is not, though it has the same mailbox."""
        if isinstance(value, list):
            return any(self._is_customer(each) for each in value)
        if not isinstance(value, dict):
            return self._id(value) is not None
        if value.get("id") is not None:
            return self._id(value["id"]) is not None
        return self._email(value.get("email")) is not None

    def member(self, name: str, value: Any) -> Any:
        """Return one member of an object without the customer."""
        if name in _IDS:
            found = self._id(value)
            return self.value(value) if found is None else found
        if name in _CUSTOMERS:
            return self._customer(value)
        if not self.is_about or value is None:
            return self.value(value)
        if name == "attributes" and isinstance(value, dict):
            return dict.fromkeys(value)
        if name == "items" and isinstance(value, list):
            return [_line(each) for each in value]
        if name in _NAMES or (name in _REASONS and isinstance(value, str)):
            return ERASED
        return self.value(value)

    def _customer(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._customer(each) for each in value]
        if not isinstance(value, dict):
            return self.value(value) if (found := self._id(value)) is None else found
        erased = {name: self.value(each) for name, each in value.items()}
        for name, found in (("id", self._id(value.get("id"))), ("email", self._email(value.get("email")))):
            if found is not None or (self.is_about and not _is_erased(value.get(name))):
                erased[name] = found or ERASED
        if self.is_about or self._is_customer(value):
            # Everything else about a person: a name, a telephone number, an address.
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

    def _token(self, token: str, *, takes_ids: bool = False) -> str:
        found = self._email(token) if "@" in token else None
        if found is None and takes_ids:
            found = self._id(token)
        return token if found is None else found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; one that names a member twice would hide what the first of them says."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is named twice")
    return members


def _is_erased(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.startswith(ERASED))


def _line(item: Any) -> Any:
    return {name: item[name] for name in _LINE if name in item} if isinstance(item, dict) else item
