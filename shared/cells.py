"""How spreadsheets write the values in files of codes; anything ambiguous is left unchanged."""

import re
from typing import Final

# A formula that keeps 00123 from becoming a number.
_KEPT_TEXT: Final = re.compile(r'\s*="([^"]*)"\s*')
# Before up to two digits, a comma is a decimal separator; 1,000 could be either.
_COMMA: Final = re.compile(r"-?[0-9]{1,15},[0-9]{1,2}", re.ASCII)
# If thousands have a separator, the other one is the decimal separator.
_ENGLISH: Final = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]{1,4}", re.ASCII)
_CONTINENTAL: Final = re.compile(r"-?[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,4}", re.ASCII)
_SPACED: Final = re.compile(r"-?[0-9]{1,3}(?:[ \u00a0\u202f'\u2019][0-9]{3})+(?:[.,][0-9]{1,2})?")
_SPACES: Final = re.compile(r"[ \u00a0\u202f'\u2019]")
# Excel writes TRUE in the user's language.
_YES: Final = frozenset(
    {
        *("1", "true", "yes", "y", "on", "wahr", "ja", "vrai", "oui", "verdadero", "sí", "vero", "sì", "si"),
        *("verdadeiro", "sim", "waar"),
    }
)
_NO: Final = frozenset(
    {"0", "false", "no", "n", "off", "falsch", "nein", "faux", "non", "falso", "não", "onwaar", "nee"},
)


def kept_text(cell: str) -> str:
    """Return the text of a cell such as `="00123"`, and any other cell unchanged."""
    # Nearly all cells, at the cost of one look.
    found = _KEPT_TEXT.fullmatch(cell) if '="' in cell else None
    return found[1] if found else cell


def plain_number(text: str) -> str:
    """Return a number with a decimal point as its only separator; any other or ambiguous text unchanged."""
    if _COMMA.fullmatch(text):
        return text.replace(",", ".")
    if _ENGLISH.fullmatch(text):
        return text.replace(",", "")
    if _CONTINENTAL.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    if _SPACED.fullmatch(text):
        return _SPACES.sub("", text).replace(",", ".")
    return text


def could_be_thousands(text: str) -> bool:
    """Return whether this is like 1.000 or 1.250, which may be one or a thousand and more."""
    before, point, behind = text.partition(".")
    return bool(point) and 1 <= len(before.lstrip("-")) <= 3 and len(behind) == 3


def plain_percentage(text: str) -> str:
    """Return the number in `10 %`."""
    return plain_number(text.removesuffix("%").rstrip())


def flag(text: str) -> bool | None:
    """Return the boolean of a cell that means yes or no; None for any other."""
    folded = text.strip().lower()
    return True if folded in _YES else False if folded in _NO else None
