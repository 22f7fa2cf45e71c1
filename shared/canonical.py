"""The canonical form of a code, in which what a customer types equals what was minted, however it is spelled.

Checks the stored display form too.
"""

import re
import unicodedata
from typing import Final

# As typed, and in canonical form: an index entry holds two codes beside an order's name.
MAX_CODE_LENGTH: Final = 255
MAX_STORED_LENGTH: Final = 100
MARKS: Final = "%+.&!#"

_ASCII_SEPARATORS: Final = frozenset("-_ \t\n\v\f\r\x1c\x1d\x1e\x1f")
# White space, dashes, `_`, and characters that Unicode calls ignorable because they are invisible.
_DROPPED: Final = re.compile(
    r"[\s\-_\u2010-\u2015\u2212\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
# Visible white space that spreadsheets leave around a code; tabs and line ends are refused.
_BLANKS: Final = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_FOLDED: Final = str.maketrans("OIL", "011")
# Dropped characters that are visible.
_SEEN: Final = re.compile(r"[\-_\u2010-\u2015\u2212]")
_ALLOWED: Final = re.compile(r"[%+.&!#]*[0-9A-Z][0-9A-Z%+.&!#]*", re.ASCII)
# The rules for ASCII, which covers nearly all codes, in one pass.
_ASCII: Final = {
    number: None if chr(number) in _ASCII_SEPARATORS else chr(number).upper().translate(_FOLDED)
    for number in range(128)
}
# The most accents and vowel signs that one letter may have.
_MOST_ACCENTS: Final = 4
# Three passes suffice for all of Unicode 17; a text that needs more is not a code.
_PASSES: Final = 8
# These alphabets look alike, so a word must not mix them.
_LOOKALIKES: Final = ("LATIN", "CYRILLIC", "GREEK")


def canonical_code(text: str) -> str:
    """Fold a code as typed into the form that is compared.

    NFKC and case folding; no white space, dashes, `_` or invisible characters; digits of all scripts as ASCII; ASCII
    letters upper-case with O=0 and I=L=1. Raises ValueError if it is too long, or if anything but letters, their
    accents, digits and the marks `% + . & ! #` is left, or no letter or digit.
    """
    if len(text) > MAX_CODE_LENGTH:
        raise ValueError(f"A code has at most {MAX_CODE_LENGTH} characters.")
    folded = text.translate(_ASCII) if text.isascii() else _folded(text)
    if not (_ALLOWED.fullmatch(folded) if folded.isascii() else _is_allowed(folded)):
        raise ValueError(f"A code consists of letters, digits, blanks, dashes, _ and the marks {' '.join(MARKS)}.")
    if len(folded) > MAX_CODE_LENGTH:
        raise ValueError(f"A code has at most {MAX_CODE_LENGTH} characters, ligatures written out.")
    return folded


def checked_code(text: str) -> str:
    """Return a code as it is stored, without surrounding blanks; raises ValueError if people could not read it.

    A stored code has a canonical form, at most 100 characters, none that is invisible or reverses the text, and no
    word that mixes Latin, Cyrillic and Greek letters.
    """
    text = text.strip(_BLANKS)
    if not 1 <= len(text) <= MAX_STORED_LENGTH:
        raise ValueError(f"must have 1 to {MAX_STORED_LENGTH} characters")
    if text.isascii() and text.isprintable():
        _check_allowed(text)
        return text
    for character in text:
        category = unicodedata.category(character)
        is_unseen = category != "Zs" and _DROPPED.fullmatch(character) and not _SEEN.fullmatch(character)
        if category[0] == "C" or is_unseen:
            raise ValueError(f"must not contain U+{ord(character):04X}, an invisible character")
    _check_allowed(text)
    _check_scripts(text)
    return text


def _check_allowed(text: str) -> None:
    try:
        canonical_code(text)
    except ValueError:
        if len(unicodedata.normalize("NFKC", text)) > MAX_CODE_LENGTH:
            raise ValueError(f"must have at most {MAX_CODE_LENGTH} characters when ligatures are written out") from None
        raise ValueError(
            f"must consist of letters, digits, blanks, dashes, _ and the marks {' '.join(MARKS)}, "
            "with at least one letter or digit"
        ) from None


def _folded(text: str) -> str:
    """Fold until nothing changes: dropping or folding a character may let its neighbours compose in the next pass."""
    for _ in range(_PASSES):
        before = text
        text = _DROPPED.sub("", unicodedata.normalize("NFKC", text).casefold())
        # The Turkish dotless i is missing on other keyboards.
        text = text.replace("\u0131", "i").replace("i\u0307", "i")
        if text == before:
            digits = {ord(each): str(unicodedata.decimal(each)) for each in text if unicodedata.category(each) == "Nd"}
            return text.translate(digits).translate(_ASCII)
    return ""


def _is_allowed(folded: str) -> bool:
    accents = _MOST_ACCENTS + 1
    for character in folded:
        category = unicodedata.category(character)
        if category[0] == "M":
            accents += 1
            if accents > _MOST_ACCENTS:
                return False
        elif category[0] == "L":
            accents = 0
        elif category == "Nd" or character in MARKS:
            # An accent on a digit or a mark forms no letter of any script.
            accents = _MOST_ACCENTS
        else:
            return False
    return any(unicodedata.category(character)[0] in "LN" for character in folded)


def _check_scripts(text: str) -> None:
    word: set[str] = set()
    for character in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(character)[0]
        if category not in "LM":
            word.clear()
        elif category == "L":
            word.update(script for script in _LOOKALIKES if unicodedata.name(character, "").startswith(script))
        if len(word) > 1:
            listed = " and ".join(script.title() for script in _LOOKALIKES if script in word)
            raise ValueError(f"must not mix {listed} letters in one word, for they look alike")
