"""Files streamed row by row, as CSV or NDJSON; the last line has their count and the digest of everything before it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiohttp import hdrs, web

from shared.csv_lines import csv_line
from shared.export_lines import FileFormat, csv_trailer, ndjson_line, ndjson_trailer
from shared.web.models import QueryModel
from shared.web.request import Request

CONTENT_TYPES: Final[dict[FileFormat, str]] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson; charset=utf-8",
}
TRAILER_TEXT: Final = (
    "The last line has the number of rows and the SHA-256 of all bytes before it: in NDJSON "
    '`{"export":{"count":2,"sha256":"…"}}`, in CSV the comment `# count=2 sha256=…`. A file without it is incomplete. '
    "A cell of text that a spreadsheet would run as a formula begins with an apostrophe."
)
ROWS_IN_A_ROW: Final = 200

Row = dict[str, object]


class FileQuery(QueryModel):
    """The format of the file."""

    format: FileFormat = "csv"


class FileRows:
    """Writes rows in one format, and counts them."""

    def __init__(self, kind: FileFormat, columns: Sequence[str]) -> None:
        self.kind = kind
        self.count = 0
        self._columns = columns

    def head(self) -> str:
        """Return what the file begins with."""
        return csv_line(self._columns) if self.kind == "csv" else ""

    def rows(self, rows: Sequence[Row]) -> str:
        """Write rows; each has a member for every column."""
        self.count += len(rows)
        if self.kind == "ndjson":
            return "".join([ndjson_line(row) for row in rows])
        return "".join([csv_line([row[name] for name in self._columns]) for row in rows])

    async def texts(self, pages: AsyncIterator[Sequence[Row]]) -> AsyncIterator[str]:
        """Write pages of rows, a piece at a time, so that other requests run in between."""
        async for page in pages:
            for start in range(0, len(page), ROWS_IN_A_ROW):
                yield self.rows(page[start : start + ROWS_IN_A_ROW])
                await asyncio.sleep(0)

    def tail(self, sha256: str) -> str:
        """Return the last line; `sha256` is the digest of everything before it."""
        return (csv_trailer if self.kind == "csv" else ndjson_trailer)(self.count, sha256)


async def stream_file(
    request: Request, written: FileRows, texts: AsyncIterator[str], name: str | None = None
) -> web.StreamResponse:
    """Send texts as they come, with a head before and a trailer after them; by default named after the path's end.

    An error on the way cuts the connection, so that the trailer is missing.
    """
    name = name or request.http.path.rpartition("/")[2]
    headers = {"Content-Disposition": f'attachment; filename="{name}.{written.kind}"'}
    stream = await request.start_stream(CONTENT_TYPES[written.kind], headers)
    if request.http.method == hdrs.METH_HEAD:
        return stream
    digest = hashlib.sha256()
    for_all = written.head().encode()
    digest.update(for_all)
    await stream.write(for_all)
    async for text in texts:
        raw = text.encode()
        digest.update(raw)
        await stream.write(raw)
    await stream.write(written.tail(digest.hexdigest()).encode())
    await stream.write_eof()
    return stream
