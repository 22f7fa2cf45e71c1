"""Who a customer is: its id and its mailbox, one hop, so that a guest of today is known when it has signed in tomorrow.

The uses of a customer are the distinct redemptions and holds with this id or this mailbox. They are counted by key, and
for both keys together once more: what bears both counts once.
"""

import hmac
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

# What is counted of a coupon: by one key, or with a second one by both together.
CustomerKey = tuple[uuid.UUID, str, str | None]


def keys_counted(coupon_id: uuid.UUID, key: str | None, mailbox_key: str | None) -> tuple[CustomerKey, ...]:
    """Return by what one more use of a customer is counted."""
    if key is None:
        return ()
    if mailbox_key is None:
        return ((coupon_id, key, None),)
    return (coupon_id, key, None), (coupon_id, mailbox_key, None), (coupon_id, key, mailbox_key)


def is_one(one: tuple[str | None, str | None], other: tuple[str | None, str | None]) -> bool:
    """Whether two, each given by both of its keys, have a key in common."""
    return any(key is not None and key in other for key in one)


_DIGEST_DIGITS: Final = 32


class Digests:
    """What stands for an erased customer: a keyed digest of its key, so that nobody finds out by trying addresses.

    The first secret makes digests; by all of them they are recognised.
    """

    def __init__(self, *secrets: bytes) -> None:
        if not secrets:
            raise ValueError("A digest needs a secret.")
        self._secrets = secrets

    def __call__(self, program_id: uuid.UUID, key: str) -> str:
        """Return the digest of a customer's key in a program."""
        return self.all(program_id, key)[0]

    def all(self, program_id: uuid.UUID, key: str) -> list[str]:
        """Return every digest that may stand for a key, today's first."""
        text = b"customer\0" + program_id.bytes + key.encode()
        made = (hmac.digest(secret, text, "sha256").hex() for secret in self._secrets)
        return [f"erased:{digest[:_DIGEST_DIGITS]}" for digest in made]


@dataclass(frozen=True, slots=True)
class Erased:
    """A key of a customer that was erased: what stands for it, and whether this purchase is of before.

    `others` are digests that earlier secrets made of the same key.
    """

    digest: str
    is_past: bool
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Aliases:
    """Under which names erased customers are counted: by digest, whether a use is of before the erasure or after it.

    `digests` are those of keys in plain, by program, and `names` all that stands in rows for a digest, itself included.
    """

    digests: Mapping[tuple[uuid.UUID, str], str] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    programs: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    """To whom the coupons belong that are counted; filled as these become known."""

    def __call__(self, coupon_id: uuid.UUID, key: str | None) -> str | None:
        """Return the one name of a key among the uses of a coupon."""
        if key is None or (program_id := self.programs.get(coupon_id)) is None:
            return key
        return self.digests.get((program_id, key), key)

    def __bool__(self) -> bool:
        return bool(self.digests)


def erased_at(found: Sequence[tuple[str, datetime]], moment: datetime) -> Erased | None:
    """Return how a key is erased for a purchase, given its digests that are known to be, today's first."""
    if not found:
        return None
    digests = [digest for digest, _ in found]
    return Erased(digests[0], moment <= max(at for _, at in found), tuple(digests[1:]))
