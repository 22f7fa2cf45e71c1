"""The files of the pages: read and compressed once at start, with a hash in their names, and cached for ever."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from aiohttp import hdrs, web

FOLDER: Final = Path(__file__).parent.parent / "static"
PREFIX: Final = "/static/"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
_COMPRESSED: Final = frozenset({".css", ".js", ".svg"})
_HASH: Final = 10


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent."""

    path: str
    content_type: str
    body: bytes
    compressed: bytes | None

    def response(self, http: web.Request) -> web.Response:
        """Answer with it, compressed if the client takes that."""
        headers = {
            "Content-Type": self.content_type,
            "Cache-Control": "public, max-age=31536000, immutable",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Vary": "Accept-Encoding",
        }
        if self.compressed is not None and "gzip" in http.headers.get(hdrs.ACCEPT_ENCODING, "").lower():
            return web.Response(body=self.compressed, headers=headers | {"Content-Encoding": "gzip"})
        return web.Response(body=self.body, headers=headers)


class Static:
    """All files by the names that pages use; a style sheet names others by them too."""

    def __init__(self, folder: Path = FOLDER) -> None:
        names = sorted(
            (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in _TYPES),
            # What a style sheet names comes before it.
            key=lambda name: (name.endswith(".css"), name),
        )
        self._files: dict[str, File] = {}
        for name in names:
            self._files[name] = self._read(folder, name)
        self._served = {file.path: file for file in self._files.values()}

    def path(self, name: str) -> str:
        """Return the path of a file; raises KeyError for one that is not there."""
        return PREFIX + self._files[name].path

    def text(self, name: str) -> str:
        """Return a file as it is served."""
        return self._files[name].body.decode()

    def find(self, path: str) -> File | None:
        """Return the file of a requested path below the prefix."""
        return self._served.get(path)

    def _read(self, folder: Path, name: str) -> File:
        body = (folder / name).read_bytes()
        where = PurePosixPath(name)
        if where.suffix == ".css":
            for other, file in self._files.items():
                body = body.replace(f'url("{other}")'.encode(), f'url("{PREFIX}{file.path}")'.encode())
        stamp = hashlib.sha256(body).hexdigest()[:_HASH]
        kind = _TYPES[where.suffix]
        return File(
            path=str(where.with_name(f"{where.stem}.{stamp}{where.suffix}")),
            content_type=f"{kind}; charset=utf-8" if where.suffix in _COMPRESSED else kind,
            body=body,
            compressed=gzip.compress(body, 9, mtime=0) if where.suffix in _COMPRESSED else None,
        )
