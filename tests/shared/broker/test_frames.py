"""Deliveries are taken out of the stream whatever their properties are; all else reaches the client untouched."""

import asyncio
import struct
from typing import Any

import pytest
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Connection
from pamqp.header import ContentHeader

from shared.broker.frames import Delivered, FrameReader

OPEN_OK = frame.marshal(Connection.OpenOk(), 0)
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
MICROSECONDS = struct.pack(">Q", 1_763_800_000_000_000)


def head(tag: int = 1, routing_key: str = "checkout.completed") -> bytes:
    deliver = Basic.Deliver(consumer_tag="ct", delivery_tag=tag, exchange="checkout", routing_key=routing_key)
    return frame.marshal(deliver, 1)


def delivery(*bodies: bytes, tag: int = 1, **properties: Any) -> bytes:
    size = sum(len(body) for body in bodies)
    content = ContentHeader(properties=Basic.Properties(**properties), body_size=size)
    return head(tag) + frame.marshal(content, 1) + b"".join(frame.marshal(ContentBody(body), 1) for body in bodies)


def raw_header(flags: int, properties: bytes, size: int = 0) -> bytes:
    payload = struct.pack(">HHQH", 60, 0, size, flags) + properties
    return struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"


class Stream:
    """A reader fed by hand, and what came out of it on either side."""

    def __init__(self) -> None:
        self.source = asyncio.StreamReader()
        self.reader = FrameReader(self.source)
        self.delivered: list[Delivered] = []
        self.reader.on_delivery = self.delivered.append

    async def feed(self, *pieces: bytes) -> bytes:
        """Feed pieces, end, and return what reached the client."""
        reading = asyncio.create_task(self._all())
        for piece in pieces:
            self.source.feed_data(piece)
            await asyncio.sleep(0)
        self.source.feed_eof()
        return await reading

    async def _all(self) -> bytes:
        got = b""
        while not self.reader.at_eof():
            try:
                got += await self.reader.readexactly(1)
            except asyncio.IncompleteReadError:
                break
        return got


async def test_deliveries_and_other_frames_part() -> None:
    stream = Stream()
    sent = (OPEN_OK, delivery(b"one", message_id="a"), HEARTBEAT, delivery(b"tw", b"o", tag=2), OPEN_OK)
    assert await stream.feed(b"".join(sent)) == OPEN_OK + HEARTBEAT + OPEN_OK
    assert [(d.tag, d.body, d.message_id) for d in stream.delivered] == [(1, b"one", "a"), (2, b"two", None)]
    assert (stream.delivered[0].exchange, stream.delivered[0].routing_key) == ("checkout", "checkout.completed")


async def test_it_does_not_matter_where_the_network_splits_the_bytes() -> None:
    sent = OPEN_OK + delivery(b"one", b"two", message_id="a", headers={"k": "v"}) + HEARTBEAT
    for at in range(1, len(sent)):
        stream = Stream()
        assert await stream.feed(sent[:at], sent[at:]) == OPEN_OK + HEARTBEAT
        assert [(d.body, dict(d.headers)) for d in stream.delivered] == [(b"onetwo", {"k": "v"})]


async def test_every_property_is_found_behind_every_other() -> None:
    stream = Stream()
    await stream.feed(
        delivery(
            b"",
            content_type="application/json",
            content_encoding="gzip",
            headers={"h": 1},
            delivery_mode=2,
            priority=3,
            correlation_id="c",
            reply_to="r",
            expiration="9",
            message_id="m",
            message_type="t",
            app_id="a",
        )
    )
    [got] = stream.delivered
    assert (got.content_type, got.message_id, got.message_type, dict(got.headers)) == (
        "application/json",
        "m",
        "t",
        {"h": 1},
    )


@pytest.mark.parametrize(
    ("flags", "properties", "headers"),
    [
        (0x0040 | 0x0020, MICROSECONDS + b"\x01t", {}),
        (0x0080, b"\x03\xff\xfe\xfd", {}),
        (0x2000, b"\x00\x00\x00\x05\x03abc?", {}),
        (0x2000, b"\x00\x00\x00\x05\x02\xff\xfet\x01", {"\ufffd\ufffd": True}),
        (
            0x2000,
            struct.pack(">I", 60_007) + b"\x01kS" + struct.pack(">I", 60_000) + b"x" * 60_000,
            {"k": "x" * 60_000},
        ),
        (0x2000, b"\x00\x00\x00\xff\x01kt\x01", {"k": True}),
        (0x2000 | 0x0080, b"\x00\x00\x00\x00\xffm", {}),
        (0xFFFF, b"", {}),
    ],
    ids=[
        "microseconds",
        "id not UTF-8",
        "unknown value type",
        "name not UTF-8",
        "very large table",
        "table longer than the frame",
        "id longer than the frame",
        "properties that are not there",
    ],
)
async def test_a_message_arrives_whatever_its_properties(
    flags: int, properties: bytes, headers: dict[str, Any]
) -> None:
    """The client ends the connection over such a message, gets it again, and ends the next one."""
    stream = Stream()
    header = raw_header(flags, properties, size=4)
    assert await stream.feed(head() + header + frame.marshal(ContentBody(b"body"), 1)) == b""
    assert [(d.body, d.headers.all()) for d in stream.delivered] == [(b"body", headers)]


async def test_a_message_got_singly_has_its_properties_here_and_for_the_client_none() -> None:
    stream = Stream()
    got = frame.marshal(Basic.GetOk(delivery_tag=1, exchange="e", routing_key="q", message_count=0), 1)
    table = b"\x00\x00\x00\x04\x01kt\x01"
    assert await stream.feed(got + raw_header(0x2000 | 0x0040, table + MICROSECONDS)) == got + raw_header(0, b"")
    found = stream.reader.got
    assert found is not None
    assert (found.exchange, found.routing_key, dict(found.headers)) == ("e", "q", {"k": True})


async def test_of_a_returned_message_the_client_sees_the_id_by_which_it_knows_its_publish() -> None:
    """Without it the publish would count as confirmed, and the message behind it as done."""
    returned = frame.marshal(Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="e", routing_key="k"), 1)
    sent = raw_header(0x2000 | 0x0080, b"\x00\x00\x00\x05\x03abc?" + b"\x02id")
    assert await Stream().feed(returned + sent) == returned + raw_header(0x0080, b"\x02id")


async def test_the_end_of_the_stream_is_told_as_a_stream_tells_it() -> None:
    reader = FrameReader(source := asyncio.StreamReader())
    source.feed_data(OPEN_OK[:5])
    source.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await reader.readexactly(7)
    assert caught.value.partial == OPEN_OK[:5]
    assert reader.at_eof()


async def test_what_is_not_amqp_is_left_to_the_client() -> None:
    stream = Stream()
    assert await stream.feed(b"AMQP\x00\x01\x00\x00") == b"AMQP\x00\x01\x00\x00"
