"""Reads frames off the socket ahead of the client and takes deliveries out of the stream.

The client ends the connection over a property that it cannot decode (a timestamp in microseconds, an id that is not
UTF-8), gets the message again, and so on forever. So it sees no property but the id of a returned or fetched message;
here, unreadable properties are left out. This also costs several times less per delivery.
"""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from shared.broker.tables import NO_HEADERS, Headers

_FRAME_HEAD: Final = struct.Struct(">BHI")
_HEAD_BYTES: Final = 7
_METHOD: Final = 1
_HEADER: Final = 2
_BODY: Final = 3
_HEARTBEAT: Final = 8
_DELIVER: Final = struct.pack(">HH", 60, 60)
_GET_OK: Final = struct.pack(">HH", 60, 71)
_BLOCKED: Final = struct.pack(">HH", 10, 60)
_UNBLOCKED: Final = struct.pack(">HH", 10, 61)
_DELIVERY_TAG: Final = struct.Struct(">QB")
_CONTENT: Final = struct.Struct(">HHQH")
_READ_BYTES: Final = 256 * 1024
# The properties in wire order, with the flag for the presence of each.
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
_BASIC: Final = 60
_SHORT_BYTES: Final = 255


@dataclass(slots=True)
class Delivered:
    """One delivery as the broker sent it, with the properties that we use and could read."""

    tag: int
    is_redelivered: bool
    exchange: str
    routing_key: str
    body: bytes = b""
    headers: Headers = field(default_factory=lambda: NO_HEADERS)
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
        self._getting: dict[int, Delivered] = {}
        self.on_delivery: Callable[[Delivered], None] | None = None
        self.got: Delivered | None = None
        """The last message that the client got singly: its properties, because the client has the body."""
        self.on_blocking: Callable[[str | None], None] | None = None
        """Called with the reason when the broker blocks the connection, and with None when it ends."""

    def at_eof(self) -> bool:
        """Whether reading has ended."""
        return self._position == len(self._ready) and (self._is_over or self._reader.at_eof()) and not self._partial

    async def readexactly(self, count: int) -> bytes:
        """Return exactly this many bytes of the client's frames, as a stream reader does."""
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
        """Return the available bytes."""
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
        """Process complete frames; return those for the client, and the number of bytes consumed."""
        position, size = 0, len(data)
        mine: list[bytes] = []
        while size - position >= _HEAD_BYTES:
            kind, channel, length = _FRAME_HEAD.unpack_from(data, position)
            if kind not in (_METHOD, _HEADER, _BODY, _HEARTBEAT):
                # Not AMQP as we know it; the client reports that.
                mine.append(data[position:])
                return b"".join(mine), size
            start = position + _HEAD_BYTES
            end = start + length + 1
            if end > size:
                break
            if not self._takes(kind, channel, data, start, end - 1):
                mine.append(self._for_client(kind, channel, data[position:end]))
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
            assembly.left = _read_header(assembly.delivered, data[start:end])
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

    def _for_client(self, kind: int, channel: int, frame: bytes) -> bytes:
        """Return a frame for the client: a content header without the properties that it need not read."""
        content = frame[_HEAD_BYTES:-1]
        if kind == _METHOD and channel == 0 and self.on_blocking is not None:
            _tell_blocking(content, self.on_blocking)
        if kind == _METHOD and content[:4] == _GET_OK:
            self._getting[channel] = _read_envelope(content, 4)
        if kind != _HEADER:
            return frame
        got = self._getting.pop(channel, None)
        read = got or Delivered(0, False, "", "")
        size = _read_header(read, content)
        self.got = got or self.got
        bare = _bare_header(size, read.message_id)
        return _FRAME_HEAD.pack(_HEADER, channel, len(bare)) + bare + frame[-1:]


class _Assembly:
    """A delivery whose content is not complete yet."""

    __slots__ = ("delivered", "left", "parts")

    def __init__(self, delivered: Delivered) -> None:
        self.delivered = delivered
        self.left = 0
        self.parts: list[bytes] = []


def _tell_blocking(content: bytes, tell: Callable[[str | None], None]) -> None:
    if content[:4] == _BLOCKED:
        # The reason is all there is, behind its length.
        tell(content[5:].decode(errors="replace"))
    elif content[:4] == _UNBLOCKED:
        tell(None)


def _read_deliver(data: bytes, position: int) -> Delivered:
    # Behind the consumer tag, for there is one consumer per connection.
    return _read_envelope(data, position + 1 + data[position])


def _read_envelope(data: bytes, position: int) -> Delivered:
    tag, is_redelivered = _DELIVERY_TAG.unpack_from(data, position)
    position += _DELIVERY_TAG.size
    exchange, position = _short_text(data, position)
    routing_key, _ = _short_text(data, position)
    return Delivered(tag, bool(is_redelivered), exchange, routing_key)


def _read_header(delivered: Delivered, content: bytes) -> int:
    """Read the properties that we use, up to the first that cannot be read; return the size of the body."""
    _, _, size, flags = _CONTENT.unpack_from(content)
    # The broker lets unspecified flags through; the message is valid all the same.
    with suppress(IndexError, ValueError):
        _read_properties(delivered, content, flags)
    return int(size)


def _read_properties(delivered: Delivered, content: bytes, flags: int) -> None:
    position = _CONTENT.size
    if flags & _CONTENT_TYPE:
        delivered.content_type, position = _short_text(content, position)
    if flags & _CONTENT_ENCODING:
        _, position = _short_text(content, position)
    if flags & _HEADERS:
        end = position + 4 + int.from_bytes(content[position : position + 4])
        # A truncated table ends with its frame; it is read up to there.
        delivered.headers = Headers(content[position + 4 : end])
        position = end
    position += bool(flags & _DELIVERY_MODE) + bool(flags & _PRIORITY)
    for flag in (_CORRELATION_ID, _REPLY_TO, _EXPIRATION):
        if flags & flag:
            _, position = _short_text(content, position)
    if flags & _MESSAGE_ID:
        delivered.message_id, position = _short_text(content, position)
    if flags & _TIMESTAMP:
        position += 8
    if flags & _TYPE:
        delivered.message_type, _ = _short_text(content, position)


def _bare_header(size: int, message_id: str | None) -> bytes:
    """A header of which the client needs the id alone, to know which of its publishes was returned."""
    identity = (message_id or "").encode()
    if not identity or len(identity) > _SHORT_BYTES:
        return _CONTENT.pack(_BASIC, 0, size, 0)
    return _CONTENT.pack(_BASIC, 0, size, _MESSAGE_ID) + bytes((len(identity),)) + identity


def _short_text(data: bytes, position: int) -> tuple[str, int]:
    """Return a short text and its end; raises if it is truncated."""
    end = position + 1 + data[position]
    if end > len(data):
        raise ValueError("cut off")
    return data[position + 1 : end].decode(errors="replace"), end
