"""The beginning of a file of codes: its encoding, what precedes the header, the separator."""

import codecs
import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.codes.domain.code_columns import MAX_LINE_BYTES
from services.codes.domain.code_files import next_line

_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The line that tells Excel the separator.
_SEPARATOR: Final = re.compile(rb'"?[Ss][Ee][Pp]=([,;\t|])"?[,;\t|\s]*', re.ASCII)
_EMPTY: Final = b' \t\r,;|"'
# UTF-8 never has this byte, so its line is refused.
_NO_TEXT: Final = b"\xff"


class Opening(NamedTuple):
    """What precedes the header, in bytes and lines, and the separator."""

    size: int
    lines: int
    delimiter: str


def opening_of(head: bytes) -> Opening:
    """Inspect the beginning of a CSV file: empty rows and Excel's `sep=` may precede the header.

    Without a `sep=`, the most frequent candidate in the header is the separator.
    """
    place, lines, delimiter = 0, 0, ""
    while (end := next_line(head, place, is_end=False)) is not None:
        line = head[place:end].rstrip(b"\r\n")
        if not delimiter and (said := _SEPARATOR.fullmatch(line)):
            delimiter = said[1].decode()
        elif line.strip(_EMPTY):
            break
        place, lines = end, lines + 1
    header = head[place : min(next_line(head, place, is_end=True) or 0, place + MAX_LINE_BYTES + 1)]
    # Outside quotes: a name may contain any of them.
    outside = b"".join(header.split(b'"')[::2])
    delimiter = delimiter or max(",;\t", key=lambda each: outside.count(each.encode()))
    return Opening(place, lines, delimiter)


@dataclass(slots=True)
class AsUTF8:
    """Converts a file with the byte order mark of UTF-16 to UTF-8 while it is read; leaves others unchanged.

    Invalid UTF-16 becomes invalid UTF-8, so that its line is refused.
    """

    _head: bytes | None = b""
    _decoder: codecs.IncrementalDecoder | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Return the converted bytes of another piece."""
        if self._head is not None:
            chunk = self._head + chunk
            if len(chunk) < len(codecs.BOM_UTF16):
                self._head = chunk
                return b""
            self._head = None
            if chunk.startswith(_UTF_16):
                self._decoder = codecs.getincrementaldecoder("utf-16")("surrogatepass")
        if self._decoder is None:
            return chunk
        return self._decoder.decode(chunk).encode("utf-8", "surrogatepass")

    def end(self) -> bytes:
        """Return the rest at the end of the file, at most one byte."""
        if self._decoder is None:
            return self._head or b""
        return _NO_TEXT if self._decoder.getstate()[0] else b""
