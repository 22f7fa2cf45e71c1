"""The history gives every event that fits once, in order, and looks at a bounded number of rows for each page."""

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from shared.clock import utc_now
from shared.database import history
from shared.database.history import History
from shared.database.outbox import insert_events
from shared.database.pool import Database, connect
from shared.events.envelope import OutboxEvent
from shared.events.history import HistoryFilter
from shared.ids import earliest_id
from tests import databases

PROGRAM, OTHER = uuid.uuid4(), uuid.uuid4()
NOON = datetime(2026, 3, 18, 12, tzinfo=UTC)


@pytest.fixture
async def pool(database: databases.Database) -> AsyncIterator[Database]:
    async with connect(database.redemption, "redemption", 2) as opened:
        yield opened


def event(minute: int, type_: str = "code.redeemed", program_id: uuid.UUID = PROGRAM) -> OutboxEvent:
    """An event of so many minutes past noon."""
    made_at = NOON + timedelta(minutes=minute)
    event_id = uuid.UUID(int=earliest_id(made_at).int + uuid.uuid4().int % 2**62)
    attributes = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": "/redemption",
        "type": "same",
        "time": str(made_at),
    }
    return OutboxEvent(event_id, type_, json.dumps({**attributes, "data": {"program_id": str(program_id)}}).encode())


async def write(pool: Database, events: Sequence[OutboxEvent]) -> None:
    async with pool.transaction() as connection:
        await insert_events(connection, events)


async def read(pool: Database, wanted: HistoryFilter, limit: int = 250) -> tuple[list[OutboxEvent], int]:
    """Return all that fits, and how many pages that took."""
    found: list[OutboxEvent] = []
    after, pages = None, 0
    while True:
        page = await History(pool).page(wanted, after, limit)
        assert len(page.events) <= limit
        found += page.events
        pages += 1
        if page.next_after is None:
            return found, pages
        assert after is None or page.next_after > after
        after = page.next_after


async def test_what_fits_comes_in_order(pool: Database) -> None:
    events = [event(minute) for minute in range(5)]
    await write(pool, events[::-1])
    assert (await read(pool, HistoryFilter()))[0] == events
    since, until = NOON + timedelta(minutes=1), NOON + timedelta(minutes=3)
    assert (await read(pool, HistoryFilter(since=since, until=until)))[0] == events[1:4]
    assert (await read(pool, HistoryFilter(since=since)))[0] == events[1:]
    edge = timedelta(milliseconds=1)
    assert (await read(pool, HistoryFilter(since=since + edge, until=until - edge)))[0] == events[2:3]
    first, last = datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
    assert (await read(pool, HistoryFilter(since=first, until=last)))[0] == events
    assert (await read(pool, HistoryFilter(since=utc_now() + timedelta(days=3650))))[0] == []


async def test_types_and_groups_and_programs_are_told_apart(pool: Database) -> None:
    redeemed, voided, exhausted = event(0), event(1, "code.redemption_voided"), event(2, "coupon.exhausted")
    odd, other = event(3, "codeXredeemed"), event(4, program_id=OTHER)
    await write(pool, [redeemed, voided, exhausted, odd, other])
    for type_, expected in (
        ("code.redeemed", [redeemed, other]),
        ("code.*", [redeemed, voided, other]),
        ("coupon.exhausted", [exhausted]),
        ("code_redeemed", []),
        ("%", []),
    ):
        assert (await read(pool, HistoryFilter(type=type_)))[0] == expected, type_
    assert (await read(pool, HistoryFilter(type="code.*", program_id=OTHER)))[0] == [other]


async def test_a_page_is_bounded_by_rows_by_bytes_and_by_what_was_asked(
    pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rare type among millions of events must not be looked for in one statement, nor a page fill the memory."""
    events = [event(minute, "coupon.exhausted" if minute % 7 == 6 else "code.redeemed") for minute in range(21)]
    await write(pool, events)
    assert await read(pool, HistoryFilter(), limit=4) == (events, 7)
    monkeypatch.setattr(history, "ROWS_AT_ONCE", 5)
    assert await read(pool, HistoryFilter(type="coupon.*")) == (events[6::7], 6)
    assert await read(pool, HistoryFilter(type="nothing.*")) == ([], 6)
    monkeypatch.setattr(history, "ROWS_AT_ONCE", 1000)
    monkeypatch.setattr(history, "BYTES_AT_ONCE", 3 * len(events[0].body) - 1)
    assert await read(pool, HistoryFilter()) == (events, 8)


async def test_a_damaged_event_keeps_no_other_from_being_read(pool: Database) -> None:
    events = [event(0), OutboxEvent(event(1).id, "code.redeemed", b"\xff{"), event(2)]
    await write(pool, events)
    assert (await read(pool, HistoryFilter()))[0] == events
    assert (await read(pool, HistoryFilter(program_id=PROGRAM)))[0] == [events[0], events[2]]
