"""The identity of a customer: its id and its mailbox, one hop, so that a guest is recognised after signing in later.

The uses of a customer are the distinct redemptions and holds with this id or this mailbox. They are counted by key, and
once more for both keys together, so that a use with both counts once.
"""

import hmac
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

# A count of a coupon: by one key, or by two keys together.
CustomerKey = tuple[uuid.UUID, str, str | None]


def keys_counted(coupon_id: uuid.UUID, key: str | None, mailbox_key: str | None) -> tuple[CustomerKey, ...]:
    """Return the keys by which one more use of a customer is counted."""
    if key is None:
        return ()
    if mailbox_key is None:
        return ((coupon_id, key, None),)
    return (coupon_id, key, None), (coupon_id, mailbox_key, None), (coupon_id, key, mailbox_key)


def is_one(one: tuple[str | None, str | None], other: tuple[str | None, str | None]) -> bool:
    """Whether two customers, each given by both keys, have a key in common."""
    return any(key is not None and key in other for key in one)


_DIGEST_DIGITS: Final = 32


class Digests:
    """The placeholder of an erased customer: a keyed digest of its key, so that nobody can test addresses.

    The first secret makes digests; all of them recognise digests.
    """

    def __init__(self, *secrets: bytes) -> None:
        if not secrets:
            raise ValueError("A digest needs a secret.")
        self._secrets = secrets

    def __call__(self, program_id: uuid.UUID, key: str) -> str:
        """Return the digest of a customer's key in a program."""
        return self.all(program_id, key)[0]

    def all(self, program_id: uuid.UUID, key: str) -> list[str]:
        """Return every possible digest of a key, the current one first."""
        text = b"customer\0" + program_id.bytes + key.encode()
        made = (hmac.digest(secret, text, "sha256").hex() for secret in self._secrets)
        return [f"erased:{digest[:_DIGEST_DIGITS]}" for digest in made]


@dataclass(frozen=True, slots=True)
class Erased:
    """A key of an erased customer: its placeholder, and whether this purchase is from before the erasure.

    `others` are digests of the same key by earlier secrets.
    """

    digest: str
    is_past: bool
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Aliases:
    """The names under which erased customers are counted: digests, for uses before and after the erasure.

    `digests` are those of plain keys, by program, and `names` all the names in rows for a digest, itself included.
    """

    digests: Mapping[tuple[uuid.UUID, str], str] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    programs: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    """The programs of the counted coupons; filled as they become known."""

    def __call__(self, coupon_id: uuid.UUID, key: str | None) -> str | None:
        """Return the single name of a key among the uses of a coupon."""
        if key is None or (program_id := self.programs.get(coupon_id)) is None:
            return key
        return self.digests.get((program_id, key), key)

    def __bool__(self) -> bool:
        return bool(self.digests)


def erased_at(found: Sequence[tuple[str, datetime]], moment: datetime) -> Erased | None:
    """Return how a key is erased for a purchase, given its known erased digests, the current one first."""
    if not found:
        return None
    digests = [digest for digest, _ in found]
    return Erased(digests[0], moment <= max(at for _, at in found), tuple(digests[1:]))
