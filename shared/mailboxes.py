"""The mailbox of an e-mail address: what stays the same however a person spells it."""

import unicodedata
from typing import Final

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
