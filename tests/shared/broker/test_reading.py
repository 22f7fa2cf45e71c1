"""A batch of events has one outcome per message, in order, whatever else is in the batch."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import pytest

from shared.broker.messages import Received
from shared.broker.reading import settle
from shared.events.envelope import InvalidEvent

Verdicts = Sequence[Literal["fresh", "duplicate", "conflict"]]


def message(body: bytes) -> Received:
    return Received(body, {}, None, "", datetime(2026, 1, 1, tzinfo=UTC))


def read(received: Received) -> str:
    if received.body == b"bad":
        raise InvalidEvent("invalid_data", "data: no object")
    return received.body.decode()


async def take_in(events: Sequence[str]) -> Verdicts:
    verdicts: dict[str, Literal["fresh", "duplicate", "conflict"]] = {"known": "duplicate", "other": "conflict"}
    return [verdicts.get(event, "fresh") for event in events]


async def test_each_message_has_its_own_outcome() -> None:
    """A message that cannot be read, or whose id is taken, must not shift the outcomes of those behind it."""
    batch = [message(body) for body in (b"bad", b"new", b"other", b"known", b"bad")]
    outcomes = [each and each.reason for each in await settle(batch, read, take_in)]
    assert outcomes == ["invalid_data", None, "event_id_conflict", None, "invalid_data"]


async def test_a_batch_without_an_event_asks_nothing() -> None:
    async def refuse(_: Sequence[str]) -> Verdicts:
        raise AssertionError("there is nothing to take in")

    assert [each and each.reason for each in await settle([message(b"bad")], read, refuse)] == ["invalid_data"]
    assert await settle([], read, refuse) == []


async def test_what_the_use_case_raises_is_raised_for_the_batch() -> None:
    async def fail(_: Sequence[str]) -> Verdicts:
        raise RuntimeError("away")

    with pytest.raises(RuntimeError, match="away"):
        await settle([message(b"new")], read, fail)
