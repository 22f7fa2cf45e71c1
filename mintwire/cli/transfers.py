"""Files to and from a service: streamed both ways; an incomplete export is an error."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlencode

import aiohttp

from mintwire.cli.client import Answer, CallFailed, refusal
from mintwire.terminal import FileOutput

_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=120)
_PIECE_BYTES = 256 * 1024
_CSV_TRAILER = re.compile(rb"# count=(\d+) sha256=([0-9a-f]{64})\n")
_NOT_WHOLE = "the file is incomplete; try again"


async def upload(url: str, path: Path, key: str, content_type: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Send a file and return the `data` of the response; raises CallFailed on any refusal."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": content_type}
    try:
        with path.open("rb") as file:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False) as session,
                session.post(f"{url}?{urlencode(query)}", data=_pieces(file), headers=headers) as response,
            ):
                answer = Answer(response.status, response.headers, await response.json(content_type=None))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise CallFailed(f"{url} cannot be reached: {error or type(error).__name__}") from error
    except OSError as error:
        raise CallFailed(f"{path} cannot be read: {error.strerror}") from error
    if answer.status >= 400:
        raise CallFailed(refusal(answer), answer.status)
    data: dict[str, Any] = answer.value["data"]
    return data


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece


async def download(url: str, output: Path | None, key: str, query: Mapping[str, object | None]) -> int:
    """Write a file, or to standard output, and return the number of rows.

    Raises CallFailed for a refusal and for an incomplete file; the part that arrived is kept.
    """
    given = {name: str(value) for name, value in query.items() if value is not None}
    headers = {"Authorization": f"Bearer {key}"}
    with ExitStack() as files:
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False) as session,
                session.get(f"{url}?{urlencode(given)}", headers=headers) as response,
            ):
                if response.status >= 400:
                    answer = Answer(response.status, response.headers, await response.json(content_type=None))
                    raise CallFailed(refusal(answer), answer.status)
                file: _File = files.enter_context(output.open("wb")) if output else FileOutput()
                return await write_checked(response.content.iter_chunked(_PIECE_BYTES), file)
        except aiohttp.ClientPayloadError as error:
            raise CallFailed(_NOT_WHOLE) from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise CallFailed(f"{url} cannot be reached: {error or type(error).__name__}") from error
        except OSError as error:
            raise CallFailed(f"{output} cannot be written: {error.strerror}") from error


class _File(Protocol):
    def write(self, piece: bytes, /) -> object: ...
    def flush(self) -> None: ...


async def write_checked(chunks: AsyncIterator[bytes], file: _File) -> int:
    """Write a download to a file, and return how many codes its last line counts; raises CallFailed if it is cut."""
    digest, last = hashlib.sha256(), b""
    async for chunk in chunks:
        file.write(chunk)
        # A possible last line is held back from the digest, which covers everything before it.
        whole, newline, rest = (last + chunk).rpartition(b"\n")
        body = whole + newline
        if rest:
            digest.update(body)
            last = rest
            continue
        before = body[:-1].rpartition(b"\n")
        digest.update(before[0] + before[1])
        last = before[2] + b"\n"
    file.flush()
    count, sha256 = _trailer(last)
    if sha256 != digest.hexdigest():
        raise CallFailed(_NOT_WHOLE)
    return count


def _trailer(line: bytes) -> tuple[int, str]:
    if match := _CSV_TRAILER.fullmatch(line):
        return int(match[1]), match[2].decode()
    try:
        said = json.loads(line)["export"]
        return int(said["count"]), str(said["sha256"])
    except (ValueError, KeyError, TypeError):
        raise CallFailed(_NOT_WHOLE) from None
