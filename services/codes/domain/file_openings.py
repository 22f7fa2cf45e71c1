"""How a file of codes begins: its encoding, what stands before the header, what sets cells apart."""

import codecs
import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.codes.domain.code_columns import MAX_LINE_BYTES
from services.codes.domain.code_files import next_line

_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The line by which Excel is told what sets cells apart.
_SEPARATOR: Final = re.compile(rb'"?[Ss][Ee][Pp]=([,;\t|])"?[,;\t|\s]*', re.ASCII)
_EMPTY: Final = b' \t\r,;|"'
# No UTF-8 has this byte, so the line that it stands in is refused as not being that.
_NO_TEXT: Final = b"\xff"


class Opening(NamedTuple):
    """What stands before the header, in bytes and lines, and what sets cells apart."""

    size: int
    lines: int
    delimiter: str


def opening_of(head: bytes) -> Opening:
    """Look at the beginning of a CSV file: rows without a cell and Excel's `sep=` stand before the header.

    Without a `sep=`, what the header has most of sets cells apart.
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
    # Outside quotes: a name may have any of them.
    outside = b"".join(header.split(b'"')[::2])
    delimiter = delimiter or max(",;\t", key=lambda each: outside.count(each.encode()))
    return Opening(place, lines, delimiter)


@dataclass(slots=True)
class AsUTF8:
    """Makes UTF-8 of a file that begins with the byte order mark of UTF-16, as it comes; others stay as they are.

    What is no character in UTF-16 becomes bytes that are none in UTF-8, so that their line is refused.
    """

    _head: bytes | None = b""
    _decoder: codecs.IncrementalDecoder | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Return what is known after another piece."""
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
        """Return what is left when the file has ended, at most one byte."""
        if self._decoder is None:
            return self._head or b""
        return _NO_TEXT if self._decoder.getstate()[0] else b""
