"""Field tables of any client: every type is read, no bytes are an error, and the first of equal names counts."""

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import encode

from shared.broker.tables import Headers, without


def entry(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + value


def long(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


VALUES: dict[str, tuple[bytes, Any]] = {
    "boolean": (b"t\x01", True),
    "signed byte": (b"b\xff", -1),
    "byte": (b"B\xff", 255),
    "short": (b"s\xff\xff", -1),
    "short by the specification's letter": (b"U\xff\xff", -1),
    "unsigned short": (b"u\xff\xff", 65535),
    "int": (b"I\xff\xff\xff\xff", -1),
    "unsigned int": (b"i\xff\xff\xff\xff", 2**32 - 1),
    "long": (b"l" + b"\xff" * 8, -1),
    "float": (b"f" + struct.pack(">f", 1.5), 1.5),
    "double": (b"d" + struct.pack(">d", 1.5), 1.5),
    "decimal": (b"D\x02" + struct.pack(">i", -150), Decimal("-1.50")),
    "decimal of 255 places": (b"D\xff" + struct.pack(">i", 1), Decimal("1E-255")),
    "text": (b"S" + long("é".encode()), "é"),
    "text that is none": (b"S" + long(b"\xff"), b"\xff"),
    "bytes": (b"x" + long(b"\x00\xff"), b"\x00\xff"),
    "time": (b"T" + struct.pack(">Q", 1_763_800_000), datetime(2025, 11, 22, 8, 26, 40, tzinfo=UTC)),
    "time in microseconds": (b"T" + b"\xff" * 8, 2**64 - 1),
    "nothing": (b"V", None),
    "array": (b"A" + long(b"t\x01V"), [True, None]),
    "table": (b"F" + long(entry(b"k", b"t\x00") + entry(b"", b"V")), {"k": False, "": None}),
    "array that is cut off": (b"A" + long(b"t\x01S\x00\x00\x00\x09x"), [True]),
    "array of an unknown type": (b"A" + long(b"t\x01?"), [True]),
}


@pytest.mark.parametrize("name", VALUES)
def test_every_type_is_read_and_does_not_hide_what_comes_after_it(name: str) -> None:
    raw, value = VALUES[name]
    headers = Headers(entry(b"odd", raw) + entry(b"next", b"t\x01"))
    assert headers["odd"] == value
    assert type(headers["odd"]) is type(value)
    assert headers.get("next") is True
    assert headers.all() == {"odd": value, "next": True}


def test_what_our_own_client_writes_is_read_as_it_reads_it() -> None:
    values = {"a": 1, "b": "x", "c": None, "d": [1, "z", {"k": True}], "e": datetime(2026, 1, 1, tzinfo=UTC), "f": 1.5}
    headers = Headers(encode.field_table(values)[4:])  # type: ignore[arg-type]
    assert headers.all() == values
    assert (list(headers), len(headers), "d" in headers, "q" in headers) == (list(values), 6, True, False)


def test_of_a_name_that_comes_twice_the_first_counts() -> None:
    """RabbitMQ replaces the first when it sets a header; a sender's second would hide what the broker says."""
    headers = Headers(entry(b"x-death", b"t\x01") + entry(b"x-death", b"t\x00"))
    assert (headers["x-death"], headers.all()) == (True, {"x-death": True})


def test_deep_nesting_ends_in_bytes() -> None:
    """Followed to its end it would be a recursion as deep as the sender likes."""
    inner = b""
    for _ in range(5000):
        inner = b"A" + long(inner)
    found = Headers(entry(b"deep", inner))["deep"]
    depth = 0
    while isinstance(found, list):
        [found] = found
        depth += 1
    assert depth < 20
    assert isinstance(found, bytes)


def test_a_table_is_repeated_as_it_came_but_for_what_is_unwanted() -> None:
    good = b"".join(entry(name.encode(), raw) for name, (raw, _) in VALUES.items())
    raw = entry(b"X-Bad", b"V") + good + entry(b"cut", b"S\x00\x00\x00\x09x")
    assert without(raw, lambda name: name == b"X-Bad") == good


@given(st.binary(max_size=300))
def test_no_bytes_are_an_error(raw: bytes) -> None:
    headers = Headers(raw)
    values = headers.all()
    assert set(values) == set(headers)
    for name in values:
        assert name in headers or "\ufffd" in name
    assert Headers(without(raw, lambda _: False)).all().keys() == values.keys()


@pytest.mark.parametrize("value", [b"V", b"t\x01", b"A\x00\x00\x00\x00", b"F\x00\x00\x00\x00"])
def test_twice_the_headers_are_twice_the_work(value: bytes) -> None:
    """The client's decoder copies what is left for every value."""
    looks = 0

    class Counted(bytes):
        def __getitem__(self, key: Any) -> Any:
            nonlocal looks
            found = super().__getitem__(key)
            looks += 1 if isinstance(found, int) else 1 + len(found)
            return found

    work = []
    for count in (2000, 4000):
        looks = 0
        Headers(Counted(b"".join(entry(b"%04d" % number, value) for number in range(count)))).all()
        work.append(looks)
    assert work[1] <= 2.1 * work[0]
