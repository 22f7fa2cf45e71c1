"""Lines of the CSV files that services write: quoted where needed, and no cell is a formula to a spreadsheet. Pure."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_QUOTED: Final = re.compile(r'[",\r\n]')
# A spreadsheet may run a cell that begins so as a formula, whatever the width of the character and whatever stands
# before it unseen; an apostrophe before it says that it is text.
_FORMULA: Final = frozenset("=+-@|%\N{MINUS SIGN}")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})


def csv_line(cells: Sequence[object]) -> str:
    """Write one record; no cell is a formula to a spreadsheet."""
    return ",".join([_cell(cell) for cell in cells]) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    text = "'" + value if is_guarded(value) else value
    # The writer of the standard library leaves a lone carriage return unquoted, and its reader then refuses it.
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def is_guarded(text: str) -> bool:
    """Say whether an apostrophe is written before a cell with this text."""
    first = text[:1]
    # Nearly all cells, at the cost of one look.
    if not first or first.isalnum():
        return False
    # An apostrophe is guarded too, so that each cell comes back as it was.
    return first == "'" or unicodedata.normalize("NFKC", first)[0] in _FORMULA or unicodedata.category(first) in _UNSEEN
