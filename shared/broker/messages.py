"""What a consumer sees of a message, how it refuses one, and the headers of a refused message."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, overload

from shared.broker.frames import Delivered
from shared.broker.tables import NO_HEADERS, without
from shared.broker.wire import Outgoing
from shared.ids import new_id
from shared.times import format_microseconds, parse_time
from shared.trace import TRACEPARENT, valid_traceparent

HEADER_REASON: Final = "x-mintwire-reason"
HEADER_DETAIL: Final = "x-mintwire-detail"
HEADER_QUEUE: Final = "x-mintwire-queue"
HEADER_FIRST_RECEIVED_AT: Final = "x-mintwire-first-received-at"
HEADER_ROUTING_KEY: Final = "x-mintwire-routing-key"
HEADER_DIED_AT: Final = "x-mintwire-died-at"
DETAIL_CHARACTERS: Final = 500
OFTEN: Final = 3
"""After this many deliveries without an outcome a message is taken alone: it may be what ended its consumers."""
_DELIVERY_COUNT: Final = "x-delivery-count"
_SHORT_BYTES: Final = 255
# All headers must fit into one frame together, or the broker closes the connection; foreign ones come second.
_FOREIGN_BYTES: Final = 64 * 1024
# A sender's CC would route our copy to queues of the sender's choice, with our rights.
_ROUTING_HEADERS: Final = frozenset({b"cc", b"bcc"})


@dataclass(frozen=True, slots=True)
class Received:
    """A message as a handler sees it; a replayed one keeps its original routing key and time of first receipt."""

    body: bytes
    headers: Mapping[str, Any]
    message_id: str | None
    routing_key: str
    first_received_at: datetime

    @property
    def traceparent(self) -> str | None:
        """The trace context in the headers, where instrumented publishers put it."""
        return valid_traceparent(header_text(self.headers, TRACEPARENT))


class Reject(Exception):
    """The message is refused: `reason` is a stable code, `detail` a sentence for the operator."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = _clean(reason)
        self.detail = _clean(detail)


class Delivery:
    """A message in hand: the broker's delivery, and the message for the handler."""

    __slots__ = ("_delivered", "came_often", "received", "tag")

    def __init__(self, delivered: Delivered, now: datetime, *, is_replay: bool) -> None:
        # Any publisher can write our headers; they count only on replayed messages.
        ours = delivered.headers if is_replay else NO_HEADERS
        self._delivered = delivered
        self.tag = delivered.tag
        self.came_often = came_often(delivered)
        self.received = Received(
            delivered.body,
            delivered.headers,
            delivered.message_id,
            header_text(ours, HEADER_ROUTING_KEY) or delivered.routing_key,
            first_received_at(ours, now),
        )

    def to_dead_letter(self, queue: str, reject: Reject, now: datetime) -> Outgoing:
        """The copy for the dead queue, with its reason in headers."""
        own = {
            HEADER_REASON: reject.reason,
            HEADER_DETAIL: reject.detail[:DETAIL_CHARACTERS],
            HEADER_QUEUE: queue,
            HEADER_FIRST_RECEIVED_AT: format_microseconds(self.received.first_received_at),
            HEADER_ROUTING_KEY: self.received.routing_key,
            HEADER_DIED_AT: format_microseconds(now),
        }
        return copied(self._delivered, queue, own)


def came_often(delivered: Delivered) -> bool:
    """Whether a message was delivered often enough without an outcome to be what ended its consumers.

    The count is the broker's own on a redelivery; on a first delivery the sender may have written it.
    """
    count = delivered.headers.get(_DELIVERY_COUNT) if delivered.is_redelivered else None
    return isinstance(count, int) and count >= OFTEN


def copied(delivered: Delivered, routing_key: str, own: Mapping[str, str]) -> Outgoing:
    """A copy of a message for another exchange, with our headers and those of its sender that are safe to repeat."""
    foreign = without(delivered.headers.raw, _is_unsafe)
    return Outgoing(
        routing_key=_short(routing_key),
        body=delivered.body,
        message_id=_short(delivered.message_id) or str(new_id()),
        type=_short(delivered.message_type),
        content_type=_short(delivered.content_type),
        headers=own,
        foreign=foreign if len(foreign) <= _FOREIGN_BYTES else b"",
    )


def first_received_at(headers: Mapping[str, Any], now: datetime) -> datetime:
    """The time of first receipt in the headers, if it is readable and not later than `now`; else `now`."""
    return min(header_time(headers, HEADER_FIRST_RECEIVED_AT) or now, now)


def header_time(headers: Mapping[str, Any], name: str) -> datetime | None:
    """A header as a time, or None."""
    return parse_time(header_text(headers, name) or "")


def header_text(headers: Mapping[str, Any], name: str) -> str | None:
    """A header as text, or None."""
    value = headers.get(name)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None


def _is_unsafe(name: bytes) -> bool:
    """Whether a header of a sender's routes, is ours, or is the broker's."""
    return name[:2].lower() == b"x-" or name.lower() in _ROUTING_HEADERS


def _clean(text: str) -> str:
    """Half of a surrogate pair cannot be encoded."""
    return text.encode(errors="replace").decode()


@overload
def _short(text: str) -> str: ...
@overload
def _short(text: str | None) -> str | None: ...
def _short(text: str | None) -> str | None:
    """Clip to the protocol's limit: a text that was not UTF-8 grew when it was decoded."""
    if text is None or len(text) <= _SHORT_BYTES // 4:
        return text
    return text.encode(errors="replace")[:_SHORT_BYTES].decode(errors="ignore")
