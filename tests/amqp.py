"""Messages as a client in any language may write them: every property as bytes, with no client of ours in between."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import aiormq.abc
from aiormq.abc import ChannelFrame

# The bits of the flags in the order in which the properties follow; `headers` is the table with its length.
_PROPERTIES = {
    "content_type": 0x8000,
    "content_encoding": 0x4000,
    "headers": 0x2000,
    "delivery_mode": 0x1000,
    "priority": 0x0800,
    "correlation_id": 0x0400,
    "reply_to": 0x0200,
    "expiration": 0x0100,
    "message_id": 0x0080,
    "timestamp": 0x0040,
    "type": 0x0020,
    "app_id": 0x0008,
    "cluster_id": 0x0004,
}
_MOST_BODY = 131_072 - 8


def short(content: bytes) -> bytes:
    """A short text."""
    return bytes((len(content),)) + content


def long(content: bytes) -> bytes:
    """A long text, an array or a table: its length and its content."""
    return struct.pack(">I", len(content)) + content


def text(content: bytes) -> bytes:
    """A long text as a value."""
    return b"S" + long(content)


def time(seconds: int) -> bytes:
    """A timestamp as a value."""
    return b"T" + struct.pack(">Q", seconds)


def array(*values: bytes) -> bytes:
    """An array as a value."""
    return b"A" + long(b"".join(values))


def entries(*pairs: tuple[bytes, bytes]) -> bytes:
    """The names and values of a table."""
    return b"".join(short(name) + value for name, value in pairs)


def table(*pairs: tuple[bytes, bytes]) -> bytes:
    """A table as a value."""
    return b"F" + long(entries(*pairs))


@dataclass(frozen=True)
class RawMessage:
    """A message with its properties: short texts as their content, headers as the entries of their table."""

    body: bytes = b"{}"
    headers: bytes | None = None
    delivery_mode: int | None = 2
    content_type: bytes | None = None
    content_encoding: bytes | None = None
    priority: int | None = None
    correlation_id: bytes | None = None
    reply_to: bytes | None = None
    expiration: bytes | None = None
    message_id: bytes | None = None
    timestamp: int | None = None
    type: bytes | None = None
    app_id: bytes | None = None
    cluster_id: bytes | None = None

    def frames(self, channel: int, exchange: bytes, routing_key: bytes) -> bytes:
        """The bytes of its publish."""
        method = struct.pack(">HHH", 60, 40, 0) + short(exchange) + short(routing_key) + b"\0"
        flags, properties = 0, b""
        for name, flag in _PROPERTIES.items():
            if (value := getattr(self, name)) is not None:
                flags |= flag
                properties += self._written(name, value)
        header = struct.pack(">HHQH", 60, 0, len(self.body), flags) + properties
        pieces = [self.body[start : start + _MOST_BODY] for start in range(0, len(self.body), _MOST_BODY)]
        contents = [(1, method), (2, header), *((3, piece) for piece in pieces)]
        return b"".join(struct.pack(">BHI", kind, channel, len(c)) + c + b"\xce" for kind, c in contents)

    @staticmethod
    def _written(name: str, value: bytes | int) -> bytes:
        if name == "timestamp":
            return struct.pack(">Q", value)
        if isinstance(value, int):
            return bytes((value,))
        return long(value) if name == "headers" else short(value)


async def publish(
    channel: aiormq.abc.AbstractChannel,
    messages: Iterable[RawMessage],
    exchange: str = "",
    routing_key: bytes = b"redemption.checkout",
) -> None:
    """Write messages past the client, which knows nothing of them: its confirms no longer match on this channel."""
    raw = b"".join(message.frames(channel.number, exchange.encode(), routing_key) for message in messages)
    await channel.connection.write_queue.put(ChannelFrame(raw, should_close=False))
