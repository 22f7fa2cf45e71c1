"""The mailbox of an e-mail address: what is the same in all of its spellings."""

import unicodedata
from typing import Final

# How a domain writes letters beyond ASCII (RFC 5890).
_ENCODED, _LONGEST_LABEL = "xn--", 63
# One domain with two names, which ignores dots before the @.
_GOOGLE: Final = frozenset({"gmail.com", "googlemail.com"})


def canonical_email(text: str) -> str:
    """Return an address without the differences that servers ignore."""
    # Nearly all are ASCII, where every character is its own normal form.
    plain = text.strip().lower() if text.isascii() else _folded(text).strip()
    if _ENCODED not in plain:
        return plain
    local, at, domain = plain.rpartition("@")
    return f"{local}{at}{'.'.join(map(_decoded, domain.split('.')))}"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _decoded(label: str) -> str:
    """Return a part of a domain as people write it: `xn--mnchen-3ya` is `münchen`; any other part stays unchanged."""
    if not label.startswith(_ENCODED) or len(label) > _LONGEST_LABEL:
        return label
    try:
        text = label.removeprefix(_ENCODED).encode("ascii").decode("punycode")
        text.encode()
    except UnicodeError:
        return label
    return label if text.isascii() else _folded(text)


def mailbox(email: str) -> str:
    """Return the mailbox of an address: without case, `+tag`, quotes and a trailing dot, and without dots at Google."""
    local, at, domain = canonical_email(email).rpartition("@")
    domain = domain.rstrip(".")
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = local[1:-1]
    local = local.partition("+")[0] or local
    if domain in _GOOGLE:
        local, domain = local.replace(".", "") or local, "gmail.com"
    return f"{local}{at}{domain}"
