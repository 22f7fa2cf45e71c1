"""Reads frames off the socket ahead of the client and takes deliveries out of the stream.

The client ends the connection over a property that it cannot decode (a timestamp in microseconds, an id that is not
UTF-8), and so on for ever; here such a property is left out. It also costs several times less per delivery.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pamqp import decode
from pamqp.header import ContentHeader

_FRAME_HEAD: Final = struct.Struct(">BHI")
_HEAD_BYTES: Final = 7
_METHOD: Final = 1
_HEADER: Final = 2
_BODY: Final = 3
_HEARTBEAT: Final = 8
_DELIVER: Final = struct.pack(">HH", 60, 60)
_DELIVERY_TAG: Final = struct.Struct(">QB")
_CONTENT: Final = struct.Struct(">HHQH")
_READ_BYTES: Final = 256 * 1024
# The client's table decoder copies what is left for every value, so its time grows with the square of the size.
_MOST_TABLE_BYTES: Final = 16 * 1024
# The properties in the order of the wire, with the flag that says whether one is there.
_CONTENT_TYPE: Final = 0x8000
_CONTENT_ENCODING: Final = 0x4000
_HEADERS: Final = 0x2000
_DELIVERY_MODE: Final = 0x1000
_PRIORITY: Final = 0x0800
_CORRELATION_ID: Final = 0x0400
_REPLY_TO: Final = 0x0200
_EXPIRATION: Final = 0x0100
_MESSAGE_ID: Final = 0x0080
_TIMESTAMP: Final = 0x0040
_TYPE: Final = 0x0020


@dataclass(slots=True)
class Delivered:
    """One delivery as the broker sent it, with those of its properties that we use and could read."""

    tag: int
    exchange: str
    routing_key: str
    body: bytes = b""
    headers: Mapping[str, Any] = field(default_factory=dict)
    message_id: str | None = None
    message_type: str | None = None
    content_type: str | None = None


class FrameReader:
    """A stream reader for the client that keeps deliveries for `on_delivery`, once that is set."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._partial = b""
        self._ready = b""
        self._position = 0
        self._is_over = False
        self._assembling: dict[int, _Assembly] = {}
        self.on_delivery: Callable[[Delivered], None] | None = None

    def at_eof(self) -> bool:
        """Whether nothing will be read any more."""
        return self._position == len(self._ready) and (self._is_over or self._reader.at_eof()) and not self._partial

    async def readexactly(self, count: int) -> bytes:
        """Return exactly so many bytes of the frames that are the client's, as a stream reader does."""
        end = self._position + count
        while end > len(self._ready):
            if self._is_over:
                rest = await self.read()
                raise asyncio.IncompleteReadError(rest, count)
            await self._fill()
            end = self._position + count
        piece = self._ready[self._position : end]
        self._position = end
        return piece

    async def read(self) -> bytes:
        """Return what is at hand."""
        rest = self._ready[self._position :]
        self._ready, self._position = b"", 0
        return rest

    async def _fill(self) -> None:
        data = await self._reader.read(_READ_BYTES)
        if data:
            data = self._partial + data if self._partial else data
            mine, used = self._sort(data)
            self._partial = data[used:]
        else:
            mine, self._partial, self._is_over = self._partial, b"", True
        self._ready = self._ready[self._position :] + mine
        self._position = 0

    def _sort(self, data: bytes) -> tuple[bytes, int]:
        """Go through whole frames; return those for the client, and how many bytes are done with."""
        position, size = 0, len(data)
        mine: list[bytes] = []
        while size - position >= _HEAD_BYTES:
            kind, channel, length = _FRAME_HEAD.unpack_from(data, position)
            if kind not in (_METHOD, _HEADER, _BODY, _HEARTBEAT):
                # Not AMQP as we know it; the client finds the words for that.
                mine.append(data[position:])
                return b"".join(mine), size
            start = position + _HEAD_BYTES
            end = start + length + 1
            if end > size:
                break
            if not self._takes(kind, channel, data, start, end - 1):
                mine.append(data[position:end] if kind != _HEADER else _readable(data, position, start, end))
            position = end
        return b"".join(mine), position

    def _takes(self, kind: int, channel: int, data: bytes, start: int, end: int) -> bool:
        if self.on_delivery is None:
            return False
        if kind == _METHOD:
            if data[start : start + 4] != _DELIVER:
                return False
            self._assembling[channel] = _Assembly(_read_deliver(data, start + 4))
            return True
        assembly = self._assembling.get(channel)
        if assembly is None:
            return False
        if kind == _HEADER:
            assembly.left = _read_header(assembly.delivered, data, start)
        elif kind == _BODY:
            assembly.parts.append(data[start:end])
            assembly.left -= end - start
        else:
            return False
        if assembly.left <= 0:
            del self._assembling[channel]
            parts = assembly.parts
            assembly.delivered.body = parts[0] if len(parts) == 1 else b"".join(parts)
            self.on_delivery(assembly.delivered)
        return True


class _Assembly:
    """A delivery whose content has not come in full."""

    __slots__ = ("delivered", "left", "parts")

    def __init__(self, delivered: Delivered) -> None:
        self.delivered = delivered
        self.left = 0
        self.parts: list[bytes] = []


def _read_deliver(data: bytes, position: int) -> Delivered:
    position += 1 + data[position]  # The consumer tag: there is one consumer per connection.
    tag, _ = _DELIVERY_TAG.unpack_from(data, position)
    position += _DELIVERY_TAG.size
    exchange = _short_text(data, position)
    position += 1 + data[position]
    return Delivered(tag, exchange, _short_text(data, position))


def _read_header(delivered: Delivered, data: bytes, start: int) -> int:
    """Read the properties that we use; return the size of the body."""
    _, _, size, flags = _CONTENT.unpack_from(data, start)
    position = start + _CONTENT.size
    if flags & _CONTENT_TYPE:
        delivered.content_type = _short_text(data, position)
        position += 1 + data[position]
    if flags & _CONTENT_ENCODING:
        position += 1 + data[position]
    if flags & _HEADERS:
        end = position + 4 + int.from_bytes(data[position : position + 4])
        delivered.headers = _table(data[position:end])
        position = end
    position += bool(flags & _DELIVERY_MODE) + bool(flags & _PRIORITY)
    for flag in (_CORRELATION_ID, _REPLY_TO, _EXPIRATION):
        if flags & flag:
            position += 1 + data[position]
    if flags & _MESSAGE_ID:
        delivered.message_id = _short_text(data, position)
        position += 1 + data[position]
    if flags & _TIMESTAMP:
        position += 8
    if flags & _TYPE:
        delivered.message_type = _short_text(data, position)
    return int(size)


def _readable(data: bytes, position: int, start: int, end: int) -> bytes:
    """A content header's frame as it is if the client can decode it, else one without properties."""
    try:
        header = ContentHeader()
        header.unmarshal(data[start : end - 1])
    except Exception:  # noqa: BLE001 - as for `_table`
        _, channel, _ = _FRAME_HEAD.unpack_from(data, position)
        kind, weight, size, _ = _CONTENT.unpack_from(data, start)
        bare = _CONTENT.pack(kind, weight, size, 0)
        return _FRAME_HEAD.pack(_HEADER, channel, len(bare)) + bare + data[end - 1 : end]
    return data[position:end]


def _short_text(data: bytes, position: int) -> str:
    return data[position + 1 : position + 1 + data[position]].decode(errors="replace")


def _table(raw: bytes) -> Mapping[str, Any]:
    if len(raw) > _MOST_TABLE_BYTES:
        return {}
    try:
        return decode.field_table(raw)[1]
    except Exception:  # noqa: BLE001 - whatever a sender wrote there and in whichever way the decoder fails on it
        return {}
