"""Many publishes as one write: the frames of a whole batch, and the client's confirm table filled in by hand.

The only place that knows the client's internals; it first checks that they are as expected (`can_write_many`).
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from typing import Any, Final, cast

import aiormq.abc
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp import commands as spec
from pamqp import encode

PERSISTENT: Final = 2
# The client's lock, write, drain and timer per message cost many times as much.
_KNOWN_CLIENT: Final = ("7", "2")
_BASIC: Final = 60
_PUBLISH: Final = 40
_MANDATORY: Final = 1
_END: Final = b"\xce"
_FRAME_HEAD: Final = struct.Struct(">BHI")
_LENGTH: Final = struct.Struct(">I")
_HEADER_HEAD: Final = struct.Struct(">HHQH")
_HAS_CONTENT_TYPE: Final = 0x8000
_HAS_HEADERS: Final = 0x2000
_HAS_DELIVERY_MODE: Final = 0x1000
_HAS_MESSAGE_ID: Final = 0x0080
_HAS_TYPE: Final = 0x0020


class Outcome(StrEnum):
    """The outcome of a publish."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One persistent message; `message_id` must not be under way twice on one channel.

    `foreign` are entries of a sender's header table, repeated byte for byte: what a client of another language wrote
    need not be what ours can. The ordinary way of publishing has no place for them.
    """

    routing_key: str
    body: bytes
    message_id: str
    type: str | None = None
    content_type: str | None = None
    headers: Mapping[str, Any] | None = None
    foreign: bytes = b""

    def properties(self) -> spec.Basic.Properties:
        """The message's properties as the client's ordinary publish takes them."""
        return spec.Basic.Properties(
            content_type=self.content_type,
            headers=dict(self.headers) if self.headers else None,
            delivery_mode=PERSISTENT,
            message_id=self.message_id,
            message_type=self.type,
        )


Settle = Callable[[str, Outcome], None]


def can_write_many(channel: aiormq.abc.AbstractChannel) -> bool:
    """Whether the client's internals are those that `write_many` was written for."""
    needed = ("lock", "delivery_tag", "confirmations", "message_id_delivery_tag", "write_queue", "max_content_size")
    return _client_version() == _KNOWN_CLIENT and all(hasattr(channel, name) for name in needed)


@cache
def _client_version() -> tuple[str, ...]:
    return tuple(version("aiormq").split(".")[:2])


async def publish_ordinarily(channel: aiormq.abc.AbstractChannel, exchange: str, message: Outgoing) -> Outcome:
    """Publish one message, mandatory, by the client's own call, and wait for the broker's answer."""
    try:
        answer = await cast(Channel, channel).basic_publish(
            message.body,
            exchange=exchange,
            routing_key=message.routing_key,
            properties=message.properties(),
            mandatory=True,
            wait=False,
        )
    except PublishError:
        return Outcome.RETURNED
    except DeliveryError:
        return Outcome.REFUSED
    return Outcome.CONFIRMED if isinstance(answer, spec.Basic.Ack) else Outcome.REFUSED


async def write_many(
    channel: aiormq.abc.AbstractChannel, exchange: str, messages: Sequence[Outgoing], settle: Settle
) -> None:
    """Publish all messages, mandatory, with one write; `settle` is called once for each that the broker answers."""
    inside = cast(Channel, channel)
    encoded = [encode_publish(channel.number, exchange, message, inside.max_content_size) for message in messages]
    async with inside.lock:
        first = inside.delivery_tag + 1
        await inside.write_queue.put(ChannelFrame(payload=b"".join(encoded), should_close=False))
        # No await below: the broker's answers cannot be read before their places in the table are there.
        for tag, message in enumerate(messages, first):
            inside.confirmations[tag] = cast(Any, _Confirmation(inside, tag, message.message_id, settle))
            inside.message_id_delivery_tag[message.message_id] = tag
        inside.delivery_tag += len(messages)


class _Confirmation:
    """Takes the place of the client's future for one publish; a future each would cost as much as the rest."""

    __slots__ = ("_channel", "_is_done", "_message_id", "_settle", "_tag")

    def __init__(self, channel: Channel, tag: int, message_id: str, settle: Settle) -> None:
        self._channel = channel
        self._tag = tag
        self._message_id = message_id
        self._settle = settle
        self._is_done = False

    def done(self) -> bool:
        return self._is_done

    def cancelled(self) -> bool:
        return False

    def set_result(self, _: object) -> None:
        self._end(Outcome.CONFIRMED)

    def set_exception(self, exc: BaseException) -> None:
        self._end(Outcome.RETURNED if isinstance(exc, PublishError) else Outcome.REFUSED)

    def _end(self, outcome: Outcome) -> None:
        self._is_done = True
        if self._channel.message_id_delivery_tag.get(self._message_id) == self._tag:
            del self._channel.message_id_delivery_tag[self._message_id]
        self._settle(self._message_id, outcome)


def encode_publish(channel_number: int, exchange: str, message: Outgoing, max_content: int) -> bytes:
    """Return the frames of one mandatory, persistent publish (AMQP 0-9-1, 2.3.5 and 4.2).

    Raises ValueError or TypeError where a name is too long or a header value has no place in the protocol.
    """
    method = b"".join(
        (
            struct.pack(">HHH", _BASIC, _PUBLISH, 0),
            encode.short_string(exchange),
            encode.short_string(message.routing_key),
            bytes((_MANDATORY,)),
        )
    )
    header = _content_header(message)
    body = message.body
    parts = [_frame(1, channel_number, method), _frame(2, channel_number, header)]
    parts.extend(
        _frame(3, channel_number, body[start : start + max_content]) for start in range(0, len(body), max_content)
    )
    return b"".join(parts)


def _content_header(message: Outgoing) -> bytes:
    flags = _HAS_DELIVERY_MODE | _HAS_MESSAGE_ID
    parts = [b""]
    if message.content_type is not None:
        flags |= _HAS_CONTENT_TYPE
        parts.append(encode.short_string(message.content_type))
    if message.headers or message.foreign:
        flags |= _HAS_HEADERS
        entries = encode.field_table(dict(message.headers or {}))[_LENGTH.size :] + message.foreign
        parts.append(_LENGTH.pack(len(entries)) + entries)
    parts.append(bytes((PERSISTENT,)))
    parts.append(encode.short_string(message.message_id))
    if message.type is not None:
        flags |= _HAS_TYPE
        parts.append(encode.short_string(message.type))
    parts[0] = _HEADER_HEAD.pack(_BASIC, 0, len(message.body), flags)
    return b"".join(parts)


def _frame(kind: int, channel_number: int, payload: bytes) -> bytes:
    return _FRAME_HEAD.pack(kind, channel_number, len(payload)) + payload + _END
