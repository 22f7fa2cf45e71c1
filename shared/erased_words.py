"""Finds words in text in which a name may be written as in a URL or in JSON. Pure, and linear in the text's length."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import quote, unquote

# A run of characters of addresses and ids: each is checked once, however long the text is.
_WORD: Final = re.compile(r"""(?:\\{1,16}u[0-9a-fA-F]{4}|[^\s"'<>(),;:\[\]{}\\/=&?|])+""")
_ESCAPE: Final = re.compile(r"\\{1,16}u([0-9a-fA-F]{4})")
_RUN: Final = re.compile(r"[\w.-]+")
# Characters that may surround a word without being part of it.
_AROUND: Final = ".!*_~`#$^+-…\u201c\u201d\u201e\u2018\u2019«»"
_SEPARATE: Final = re.compile(r"""[\s"'<>(),;:\[\]{}\\/=&?|]""")
_TWINS: Final = {"gmail.com": ("gmail.com", "googlemail.com")}
# How many layers of encoding are followed.
_DEEPEST: Final = 4
_PARTS: Final = 8

Find = Callable[[str], str | None]


def words(text: str, find: Find, depth: int = 0) -> str:
    """Return text with each word that `find` knows replaced by its result."""
    return _WORD.sub(lambda word: _replaced(word[0], find, depth), text)


def is_phrase(name: str) -> bool:
    """Return whether a name is more than one word, so that `words` does not find it."""
    return _SEPARATE.search(name) is not None


def without_phrase(text: str, phrase: str, replacement: str) -> str:
    """Return text with each occurrence of a phrase replaced, unless it is part of a longer word."""
    before, *rest = text.split(phrase)
    parts = [before]
    for left, right in zip([before, *rest], rest, strict=False):
        is_whole = not _ends_in_word(left) and not _ends_in_word(right[:1])
        parts += [replacement if is_whole else phrase, right]
    return "".join(parts)


def _ends_in_word(text: str) -> bool:
    return text[-1:].isalnum() or text[-1:] == "_"


def needles(names: Iterable[str]) -> tuple[bytes, ...]:
    """Return what every text with one of the names contains, however spelled, unless the text has escapes."""
    found: list[str] = []
    for name in names:
        # The domain of an address: the part before it can be spelled in many ways.
        folded = _folded(name.rpartition("@")[2])
        run = max(_RUN.findall(folded), key=len, default="")
        found += _TWINS.get(run, (run,))
        # A domain beyond ASCII may be written in its encoded form.
        found += () if run.isascii() else ("xn--",)
    return tuple(each.encode() for each in found)


def is_folded_in(wanted: tuple[bytes, ...], raw: bytes) -> bool:
    """Return whether one of the needles may be in a text."""
    text = raw.lower() if raw.isascii() else _folded(raw.decode("utf-8", "replace")).encode("utf-8", "replace")
    return any(each in text for each in wanted) or b"%" in text or b"\\u" in text


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _replaced(word: str, find: Find, depth: int) -> str:
    if (found := find(word)) is not None:
        return found
    core = word.strip(_AROUND)
    if core and core != word and (found := find(core)) is not None:
        before, _, after = word.partition(core)
        return f"{before}{found}{after}"
    if "%" in word and depth < _DEEPEST:
        plain = unquote(word, errors="surrogateescape")
        if plain != word and (erased := _inside(plain, find, depth)) != plain:
            return quote(erased, safe=":", errors="surrogateescape")
    if "\\" in word and depth < _DEEPEST:
        plain = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), word)
        if (erased := _inside(plain, find, depth)) != plain:
            return erased
    if "+" in word:
        return _joined(word, find)
    return word


def _inside(plain: str, find: Find, depth: int) -> str:
    found = find(plain)
    return words(plain, find, depth + 1) if found is None else found


def _joined(word: str, find: Find) -> str:
    """Return words joined as in a form, where a plus is a blank, with the last one replaced."""
    parts = word.split("+", _PARTS)
    for at in range(1, len(parts)):
        if (found := find("+".join(parts[at:]).strip(_AROUND))) is not None:
            return "+".join([*parts[:at], found])
    return word
