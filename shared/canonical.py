"""The canonical form of a code: what a customer types and what was minted meet here, whatever the spelling."""

import re
import unicodedata
from typing import Final

MAX_CODE_LENGTH = 255

_DROPPED = re.compile(r"[\s\-_\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+")
_FOLDED = str.maketrans("OIL", "011")
_ALLOWED = re.compile(r"[0-9A-Z]+", re.ASCII)
# The same rules for ASCII, where nearly all codes are, in one pass.
_ASCII: Final = {
    number: None if _DROPPED.fullmatch(chr(number)) else chr(number).upper().translate(_FOLDED) for number in range(128)
}


def canonical_code(text: str) -> str:
    """Fold a code as typed into the form that is compared: NFKC, no spaces or dashes, upper case, O=0, I=L=1.

    Raises ValueError if nothing or anything but ASCII letters and digits is left, or if it is too long.
    """
    if len(text) > MAX_CODE_LENGTH:
        raise ValueError(f"A code has at most {MAX_CODE_LENGTH} characters.")
    if text.isascii():
        folded = text.translate(_ASCII)
    else:
        folded = _DROPPED.sub("", unicodedata.normalize("NFKC", text)).upper().translate(_FOLDED)
    if not _ALLOWED.fullmatch(folded):
        raise ValueError("A code consists of the letters A to Z, digits, dashes and underscores.")
    return folded
