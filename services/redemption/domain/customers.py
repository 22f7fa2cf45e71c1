"""Who a customer is: its id and its mailbox, one hop, so that a guest of today is known when it has signed in tomorrow.

The uses of a customer are the distinct redemptions and holds with this id or this mailbox. They are counted by key, and
for both keys together once more: what bears both counts once.
"""

import unicodedata
import uuid
from typing import Final

# What is counted of a coupon: by one key, or with a second one by both together.
CustomerKey = tuple[uuid.UUID, str, str | None]

# One domain under two names, which passes over dots before the @.
_GOOGLE: Final = frozenset({"gmail.com", "googlemail.com"})


def canonical_email(text: str) -> str:
    """Return an address without differences that no server makes."""
    # Nearly all are ASCII, of which every character is its own normal form.
    return text.strip().lower() if text.isascii() else unicodedata.normalize("NFKC", text).strip().casefold()


def mailbox(email: str) -> str:
    """Return the mailbox of an address: without case, `+tag`, quotes and a trailing dot, at Google without dots."""
    local, at, domain = canonical_email(email).rpartition("@")
    domain = domain.rstrip(".")
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = local[1:-1]
    local = local.partition("+")[0] or local
    if domain in _GOOGLE:
        local, domain = local.replace(".", "") or local, "gmail.com"
    return f"{local}{at}{domain}"


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
