"""The history gives every event that fits once, in order, and looks at a bounded number of rows for each page."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from shared.database import history
from shared.database.history import History
from shared.database.pool import Database, connect
from shared.events.envelope import OutboxEvent
from shared.events.history import HistoryFilter
from tests import databases

PROGRAM, OTHER = uuid.uuid4(), uuid.uuid4()
NOON = datetime(2026, 3, 18, 12, tzinfo=UTC)


@pytest.fixture
async def pool(database: databases.Database) -> AsyncIterator[Database]:
    async with connect(database.redemption, "redemption", 2) as opened:
        yield opened


def event(type_: str = "code.redeemed", program_id: uuid.UUID = PROGRAM) -> OutboxEvent:
    """An event whose id tells nothing of its time, like many of ours."""
    event_id = uuid.uuid4()
    attributes = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": "/redemption",
        "type": "same",
        "time": str(NOON),
    }
    return OutboxEvent(event_id, type_, json.dumps({**attributes, "data": {"program_id": str(program_id)}}).encode())


Write = Callable[[Sequence[OutboxEvent]], Awaitable[None]]


@pytest.fixture
async def write(database: databases.Database) -> AsyncIterator[Write]:
    """Write events one minute apart from noon on, the first two of them at the same time."""
    connection = await asyncpg.connect(database.admin)

    async def insert(events: Sequence[OutboxEvent]) -> None:
        for place, each in enumerate(events):
            minute = 0 if place == 1 else place
            await connection.execute(
                "INSERT INTO redemption.events (id, type, body, created_at) VALUES ($1, $2, $3, $4)",
                *(each.id, each.type, each.body, NOON + timedelta(minutes=minute)),
            )

    yield insert
    await connection.close()


async def read(pool: Database, wanted: HistoryFilter, limit: int = 250) -> tuple[list[OutboxEvent], int]:
    """Return all that fits, and how many pages that took."""
    found: list[OutboxEvent] = []
    after, pages = None, 0
    while True:
        page = await History(pool).page(wanted, after, limit)
        assert len(page.events) <= limit
        found += [each.event for each in page.events]
        pages += 1
        if page.next_after is None:
            return found, pages
        assert after is None or page.next_after > after
        after = page.next_after


async def test_what_fits_comes_in_order(pool: Database, write: Write) -> None:
    events = sorted((event(), event()), key=lambda each: each.id) + [event() for _ in range(3)]
    await write([events[1], events[0], *events[2:]])
    assert (await read(pool, HistoryFilter()))[0] == events
    since, until = NOON + timedelta(minutes=2), NOON + timedelta(minutes=3)
    assert (await read(pool, HistoryFilter(since=since, until=until)))[0] == events[2:4]
    assert (await read(pool, HistoryFilter(since=since)))[0] == events[2:]
    assert (await read(pool, HistoryFilter(since=NOON, until=NOON)))[0] == events[:2]
    edge = timedelta(microseconds=1)
    assert (await read(pool, HistoryFilter(since=NOON + edge, until=until - edge)))[0] == events[2:3]
    first, last = datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
    assert (await read(pool, HistoryFilter(since=first, until=last)))[0] == events
    assert (await read(pool, HistoryFilter(since=last)))[0] == []


async def test_types_and_groups_and_programs_are_told_apart(pool: Database, write: Write) -> None:
    redeemed, voided, exhausted = event(), event("code.redemption_voided"), event("coupon.exhausted")
    odd, other = event("codeXredeemed"), event(program_id=OTHER)
    await write([redeemed, voided, exhausted, odd, other])
    for type_, expected in (
        ("code.redeemed", {redeemed, other}),
        ("code.*", {redeemed, voided, other}),
        ("coupon.exhausted", {exhausted}),
        ("code_redeemed", set()),
        ("%", set()),
    ):
        assert set((await read(pool, HistoryFilter(type=type_)))[0]) == expected, type_
    assert (await read(pool, HistoryFilter(type="code.*", program_id=OTHER)))[0] == [other]


async def test_a_page_is_bounded_by_rows_by_bytes_and_by_what_was_asked(
    pool: Database, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rare type among millions of events must not be looked for in one statement, nor a page fill the memory."""
    events = [event("coupon.exhausted" if place % 7 == 6 else "code.redeemed") for place in range(21)]
    events[:2] = sorted(events[:2], key=lambda each: each.id)
    await write(events)
    assert await read(pool, HistoryFilter(), limit=4) == (events, 7)
    monkeypatch.setattr(history, "ROWS_AT_ONCE", 5)
    assert await read(pool, HistoryFilter(type="coupon.*")) == (events[6::7], 6)
    assert await read(pool, HistoryFilter(type="nothing.*")) == ([], 6)
    monkeypatch.setattr(history, "ROWS_AT_ONCE", 1000)
    monkeypatch.setattr(history, "BYTES_AT_ONCE", 3 * len(events[0].body) - 1)
    assert await read(pool, HistoryFilter()) == (events, 8)


async def test_a_damaged_event_keeps_no_other_from_being_read(pool: Database, write: Write) -> None:
    events = [event(), event(), OutboxEvent(uuid.uuid4(), "code.redeemed", b"\xff{"), event()]
    events[:2] = sorted(events[:2], key=lambda each: each.id)
    await write(events)
    assert (await read(pool, HistoryFilter()))[0] == events
    assert (await read(pool, HistoryFilter(program_id=PROGRAM)))[0] == [*events[:2], events[3]]
