"""One write for a whole batch must say exactly what the client would have said."""

from typing import cast

import pytest
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from shared.broker import wire
from shared.broker.publisher import Publisher
from shared.broker.wire import Outgoing, can_write_many, encode_publish
from tests.shared.broker.tools import Broker, event, until

MAX_CONTENT = 1000
PLAIN = Outgoing("code.redeemed", b'{"a":1}', "0198-id", "code.redeemed", "application/cloudevents+json")


@pytest.mark.parametrize(
    "message",
    [
        PLAIN,
        Outgoing("q", b"", "id"),
        Outgoing("ключ", b"x" * 2500, "é" * 100, "тип"),
        Outgoing("q", b"x" * MAX_CONTENT, "id", headers={"x-reason": "é" * 300, "n": 5, "t": {"deep": [1, None]}}),
    ],
    ids=["plain", "bare", "in three frames and not ASCII", "with headers"],
)
def test_the_bytes_are_those_of_the_client(message: Outgoing) -> None:
    body = [
        ContentBody(message.body[start : start + MAX_CONTENT]) for start in range(0, len(message.body), MAX_CONTENT)
    ]
    frames: list[Frame | ContentHeader | ContentBody | Heartbeat] = [
        Basic.Publish(exchange="ex", routing_key=message.routing_key, mandatory=True),
        ContentHeader(properties=message.properties(), body_size=len(message.body)),
        *body,
    ]
    expected = ChannelFrame.marshall(channel_number=7, frames=frames).payload
    assert encode_publish(7, "ex", message, MAX_CONTENT) == expected


def test_a_name_that_is_too_long_is_an_error_of_the_caller() -> None:
    with pytest.raises((TypeError, ValueError), match="255"):
        encode_publish(1, "ex", Outgoing("k" * 256, b"", "id"), MAX_CONTENT)


async def test_only_the_known_client_is_written_through(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_write_many(broker.channel)
    monkeypatch.setattr(wire, "_client_version", lambda: ("7", "3"))
    assert not can_write_many(broker.channel)


async def test_nothing_is_left_behind_in_the_clients_tables(url: str, broker: Broker) -> None:
    """One channel lives as long as its process: an entry per message would fill the memory."""
    await broker.channel.exchange_declare("bare", exchange_type="topic", durable=True)
    async with Publisher(url, "bare") as publisher:
        assert await publisher.publish_many([event(kind="nobody") for _ in range(600)]) == set()
        link = publisher._link
        assert link is not None
        channel = cast(Channel, link.channel)
        await until(lambda: not channel.confirmations)
        assert not channel.message_id_delivery_tag
        assert not link.under_way
        assert channel.delivery_tag == 600
