"""Messages of a dead queue or of `unrouted`, rendered for people: who gave them up, when, why, and their content.

A consumer's headers are trusted only on what came through its own exchange. What the broker moved has only the
broker's record of the death, and before RabbitMQ 4 a sender can make that name a time of its choice.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from shared.broker.frames import Delivered
from shared.broker.messages import (
    HEADER_DETAIL,
    HEADER_DIED_AT,
    HEADER_FIRST_RECEIVED_AT,
    HEADER_REASON,
    HEADER_ROUTING_KEY,
    header_text,
    header_time,
)
from shared.broker.tables import Headers
from shared.broker.topology import DELIVERY_LIMIT, EXCHANGE_DEAD, QUEUE_UNROUTED, dead_exchange
from shared.events.operating import DeadLetter
from shared.times import in_utc

REASON_UNKNOWN: Final = "unknown"
_DEATHS: Final = "x-death"
_RECORDED: Final = ("count", "reason", "queue", "time")
_WORDS: Final = {
    "delivery_limit": (
        f"Delivered {DELIVERY_LIMIT} times and never settled: each time, the process or the connection ended with "
        "this message in hand."
    ),
    "rejected": "The consumer could neither settle it nor send it here with its reason; the service's log says why.",
    "maxlen": "Its queue was full.",
}

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message of a dead queue; its reason is the consumer's, or the broker's own (`delivery_limit`).

    If the broker gave up by itself, that time replaces the unknown time of first receipt.
    """

    key: str
    reason: str
    detail: str
    routing_key: str
    first_received_at: datetime | None
    died_at: datetime | None
    body: bytes
    headers: Headers
    is_moved_by_broker: bool

    @classmethod
    def of(cls, delivered: Delivered, queue: str, broker: Version) -> Self:
        """Read what the dead queue of `queue` holds, or `unrouted`, at a broker of this version."""
        headers = delivered.headers
        key = delivered.message_id or f"sha256:{hashlib.sha256(delivered.body).hexdigest()[:32]}"
        # Any publisher can write our headers; only the consumer's exchange is closed to others.
        if queue != QUEUE_UNROUTED and delivered.exchange == dead_exchange(queue):
            ours: Mapping[str, Any] = headers
            return cls(
                key=key,
                reason=header_text(ours, HEADER_REASON) or REASON_UNKNOWN,
                detail=header_text(ours, HEADER_DETAIL) or "",
                routing_key=header_text(ours, HEADER_ROUTING_KEY) or delivered.routing_key,
                first_received_at=header_time(ours, HEADER_FIRST_RECEIVED_AT),
                died_at=header_time(ours, HEADER_DIED_AT),
                body=delivered.body,
                headers=headers,
                is_moved_by_broker=False,
            )
        death = _death(headers, queue) if delivered.exchange == EXCHANGE_DEAD else {}
        died_at = _time(death, broker)
        return cls(
            key=key,
            reason=_reason(death, queue),
            detail=_detail(delivered, death, queue),
            routing_key=_routing_key(death) or delivered.routing_key,
            first_received_at=died_at,
            died_at=died_at,
            body=delivered.body,
            headers=headers,
            is_moved_by_broker=bool(death),
        )


def letter_of(message: DeadMessage) -> DeadLetter:
    """Return a message as people see it."""
    return DeadLetter(
        key=message.key,
        reason=message.reason,
        detail=message.detail,
        routing_key=message.routing_key,
        first_received_at=message.first_received_at,
        died_at=message.died_at,
        size=len(message.body),
        headers={name: _words(value) for name, value in message.headers.items()},
        body=message.body,
    )


def _words(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _death(headers: Headers, queue: str) -> Mapping[str, Any]:
    """The broker's record of how it gave the message up: the first one, for it writes the latest in front."""
    deaths = headers.get(_DEATHS)
    first = deaths[0] if isinstance(deaths, list) and deaths else None
    return first if isinstance(first, dict) and first.get("queue") == queue else {}


def _reason(death: Mapping[str, Any], queue: str) -> str:
    if queue == QUEUE_UNROUTED:
        return QUEUE_UNROUTED
    return header_text(death, "reason") or REASON_UNKNOWN


def _detail(delivered: Delivered, death: Mapping[str, Any], queue: str) -> str:
    if queue == QUEUE_UNROUTED:
        return f"No queue was bound for {delivered.routing_key} on the exchange {delivered.exchange}."
    reason = header_text(death, "reason") or ""
    if reason == "expired":
        lifetime = header_text(death, "original-expiration")
        given = "a lifetime" if lifetime is None else f"a lifetime of {lifetime} ms"
        return f"Its sender gave it {given}, which ended before a consumer had settled it."
    unknown = "Neither a consumer nor the broker recorded why it is here."
    return _WORDS.get(reason, f"The broker gave it up: {reason}." if reason else unknown)


def _time(death: Mapping[str, Any], broker: Version) -> datetime | None:
    """The time of a death, if it is the broker's own.

    RabbitMQ up to 3.12 keeps the time of a record that a sender wrote for the same queue and reason, and sorts its
    members; its own record has them in another order. 3.13 writes both alike. 4 ignores what a sender wrote.
    """
    if broker < (4,):
        members = [name for name in death if name != "original-expiration"]
        if broker >= (3, 13) or tuple(members[: len(_RECORDED)]) != _RECORDED:
            return None
    moment = death.get("time")
    return in_utc(moment) if isinstance(moment, datetime) else None


def _routing_key(death: Mapping[str, Any]) -> str:
    keys = death.get("routing-keys")
    return keys[0] if isinstance(keys, list) and keys and isinstance(keys[0], str) else ""
