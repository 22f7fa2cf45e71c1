"""Messages of a hostile sender: every property and every kind of header that AMQP can carry, around any body at all."""

import copy
import json
import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests import amqp
from tests.amqp import RawMessage

T = TypeVar("T")
Properties = tuple[tuple[str, Any], ...]

EVENT_ID = "the id of the event"
TIMES = (
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999-14:00",
    "1969-12-31T23:59:59Z",
    "2026-03-16T20:15:00",
    "2026-02-30T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "253402300800",
)
ODD_TEXTS = (*TIMES, "", "\0", "\ud800", "x" * 300, "é" * 5000, "\u202eabc", "{}", "-1", "NaN", "1e999", "null")
ODD_NUMBERS = (-1, 0, 2**31, 2**63, -(2**63) - 1, 2**200, 1e308, -0.0, 1.5, True)


@dataclass(frozen=True)
class Sent:
    """A message and the way that it goes."""

    message: RawMessage
    exchange: str
    routing_key: bytes


def hostile_messages(
    events: Sequence[Mapping[str, Any]], ways: Mapping[str, Sequence[str]], replays: str, count: int, number: int
) -> list[Sent]:
    """Return this many messages about these events, the same for the same seed `number`.

    They go by these exchanges under their routing keys, and by the way of replays under any. The parts of a kind come
    equally often.
    """
    keys = [(exchange, key.encode()) for exchange, found in ways.items() for key in found]
    ways_in = st.one_of(st.sampled_from(keys), st.sampled_from(keys), st.tuples(st.just(replays), _short(255)))
    # Whole messages are combined from prepared parts: creating each from scratch takes many times as long.
    headers, properties = _heads(number)
    bodies = [*_distinct(_bodies(events), 1000, number), b"[" + b"1," * 131_072 + b"1]"]
    found_ways = _distinct(ways_in, 200, number)
    chance = random.Random(number)  # noqa: S311 - to be the same for the same number
    parts = zip(*(_in_turn(kind, chance) for kind in (bodies, headers, properties, found_ways)), strict=True)
    return [
        Sent(_put_together(body, head, found, chance.randrange(10**6)), *way)
        for body, head, found, way in islice(parts, count)
    ]


def _in_turn(parts: Sequence[Any], chance: random.Random) -> Iterator[Any]:
    """Yield the parts for ever, each once before any comes again, in an order that changes."""
    while True:
        yield from chance.sample(parts, len(parts))


@cache
def _heads(number: int) -> tuple[list[bytes | None], list[Properties]]:
    """Headers and properties, the same for all services."""
    large = [_large_text(), _many(), _deep(), _wide()]
    return [None, _copies(), *large, *_distinct(_headers(), 400, number)], _distinct(_properties(), 400, number)


def _properties() -> "st.SearchStrategy[Properties]":
    """The names and values of all properties but the headers."""
    short = st.one_of(st.none(), st.none(), _short(12), _short(255))
    return st.fixed_dictionaries(
        {
            "delivery_mode": st.sampled_from([None, 1, 2]),
            "content_type": short,
            "content_encoding": short,
            "priority": st.sampled_from([None, 0, 9, 255]),
            "correlation_id": short,
            "reply_to": short,
            "expiration": st.sampled_from([None, None, None, b"0", b"1", b"86400000", b"4294967295"]),
            "message_id": st.one_of(short, st.uuids().map(lambda each: each.bytes)),
            "timestamp": st.sampled_from([None, 0, 2**31, 2**63, 2**64 - 1, 1_763_800_000_000]),
            "type": short,
            "app_id": short,
            "cluster_id": short,
        }
    ).map(lambda found: tuple(found.items()))


def _put_together(body: bytes, headers: bytes | None, properties: Properties, number: int) -> RawMessage:
    found = dict(properties)
    if b"x-death" in (headers or b""):
        # RabbitMQ before 4 stops dead-lettering for good over an expired message with a malformed record of a death.
        found["expiration"] = None
    # Every third event has an id that others have too.
    event_id = b"fuzz" if number % 3 == 0 else b"fuzz-%d" % number
    return RawMessage(body=body.replace(EVENT_ID.encode(), event_id), headers=headers, **found)


def _distinct(strategy: "st.SearchStrategy[T]", count: int, number: int) -> list[T]:
    return list(dict.fromkeys(_generated(strategy, count, number)))


def _generated(strategy: "st.SearchStrategy[T]", count: int, number: int) -> list[T]:
    found: list[T] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(one: T) -> None:
        found.append(one)

    collect()
    return found


def _one_of(parts: Sequence[T]) -> "st.SearchStrategy[T]":
    # By number, for the strategy would describe itself by all of its parts.
    return st.integers(0, len(parts) - 1).map(lambda number: parts[number])


def _short(most: int) -> "st.SearchStrategy[bytes]":
    """A short text: mostly a few bytes of any kind, or one that fills it."""
    full = st.sampled_from(
        [b"\xff" * most, b"\0" * most, b"a" * most, "é".encode() * (most // 2), b"code.redeemed"[:most]]
    )
    return st.one_of(st.binary(max_size=12), full)


# Types of a fixed size, and that; `S`, `x`, `A` and `F` have a length of their own.
_FIXED = [(b"t", 1), (b"b", 1), (b"B", 1), (b"s", 2), (b"u", 2), (b"I", 4), (b"i", 4), (b"l", 8), (b"D", 5), (b"T", 8)]
_FIXED += [(b"V", 0)]
_NAMES = [
    *(b"x-mintwire-first-received-at", b"x-mintwire-died-at", b"x-mintwire-reason", b"x-mintwire-detail"),
    *(b"x-mintwire-routing-key", b"x-mintwire-queue", b"traceparent", b"x-death", b"x-first-death-reason"),
    *(b"x-last-death-reason", b"x-delivery-count", b"x-acquired-count", b"", b"\0", b"\xff" * 255, b"k"),
]


def _values() -> "st.SearchStrategy[bytes]":
    fixed = st.builds(
        lambda kind, content: kind[0] + content[: kind[1]],
        st.sampled_from(_FIXED),
        st.one_of(st.binary(min_size=8, max_size=8), st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7])),
    )
    # The broker ends the channel of a sender of infinity, or of what is no number.
    floats = st.builds(
        lambda is_long, number: b"d" + struct.pack(">d", number) if is_long else b"f" + struct.pack(">f", number),
        st.booleans(),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
    texts = st.one_of(
        st.binary(max_size=20),
        _one_of([each.encode(errors="surrogatepass") for each in ODD_TEXTS]),
        st.just(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    )
    long = st.builds(lambda kind, content: kind + amqp.long(content), st.sampled_from([b"S", b"x"]), texts)
    plain = st.one_of(fixed, fixed, floats, long)
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4).map(lambda values: amqp.array(*values)),
            st.lists(st.tuples(_names(), inner), max_size=4).map(lambda pairs: amqp.table(*pairs)),
        ),
        max_leaves=6,
    )


def _names() -> "st.SearchStrategy[bytes]":
    return st.one_of(
        st.sampled_from(_NAMES), st.binary(max_size=8).filter(lambda name: name.upper() not in {b"CC", b"BCC"})
    )


def _headers() -> "st.SearchStrategy[bytes]":
    return st.lists(st.tuples(_names(), _values()), max_size=5).map(lambda pairs: amqp.entries(*pairs))


def _copies() -> bytes:
    # The broker itself reads these two, and ends the channel of a sender that has them otherwise.
    return amqp.entries((b"CC", amqp.array(amqp.text(b"nowhere"))), (b"BCC", amqp.array()))


def _large_text() -> bytes:
    return amqp.entries((b"large", amqp.text(b"\xff" * 65_000)), (b"traceparent", b"V"))


def _many() -> bytes:
    return amqp.entries(*((b"%04x" % number, b"t\x01") for number in range(9000)))


def _deep() -> bytes:
    inner = b""
    for _ in range(2000):
        inner = b"A" + amqp.long(inner)
    return amqp.entries((b"deep", inner))


def _wide() -> bytes:
    return amqp.entries((b"x-death", amqp.array(*([amqp.table()] * 12_000))))


def _bodies(events: Sequence[Mapping[str, Any]]) -> "st.SearchStrategy[bytes]":
    mutated = st.builds(_mutated, st.sampled_from(events), st.integers(0, 2**32), _json(), st.integers(0, 3))
    bare = st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [b"", b"\xef\xbb\xbf{}", b"[" * 5000, b'{"a":' * 40 + b"1" + b"}" * 40, b'"\\ud800"', b"1" * 5000]
        ),
        _json().map(_dumped),
    )
    return st.one_of(mutated, mutated, mutated, bare)


def _json() -> "st.SearchStrategy[Any]":
    odd: st.SearchStrategy[Any] = st.sampled_from([None, [], {}, [[]], *ODD_TEXTS, *ODD_NUMBERS])
    return st.one_of(
        odd, st.recursive(odd, lambda inner: st.lists(inner, max_size=3), max_leaves=4), st.text(max_size=8)
    )


def _mutated(event: Mapping[str, Any], where: int, value: Any, changes: int) -> bytes:
    """An event with some members of its own or of its data replaced, removed or added; another each time."""
    made = copy.deepcopy(dict(event))
    made["id"] = EVENT_ID
    for change in range(changes):
        inside = made if (where >> change) % 3 == 0 else made.get("data")
        if not isinstance(inside, dict) or not inside:
            continue
        names = sorted(inside)
        name = names[(where >> (3 * change)) % len(names)]
        if (where >> change) % 7 == 0:
            del inside[name]
        else:
            inside[name] = value
    return _dumped(made)


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()
