"""`rate_limit_per_second` caps the POSTs that start in any second, over all replicas and all kinds of attempts."""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.domain.deliveries import HeldDelivery
from services.webhooks.domain.pacing import BEGIN_SECONDS, WINDOW, earliest_begin, next_span_length, spent
from services.webhooks.store import claims
from services.webhooks.usecases import take_turns
from shared.clock import utc_now
from shared.database.pool import Connection
from tests.databases import Database
from tests.services.webhooks.conftest import (
    DEADLINE_SECONDS,
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    make_merchant,
    make_partner,
    running_service,
    until,
)
from tests.services.webhooks.receiver import Post, Receiver

CAPS = [1, 2, 3, 4, 5, 5, 6, 8, 10, 12, 15, 20, 20, 25, 30, 35, 40, 50, 60, 80]
MESSAGES = 2_000
# POSTs of a span start at its beginning, except for a late event loop, and the next span comes a whole second after its
# end. So POSTs that arrive within the length of a span are no denser than they were sent.
ALLOWANCE = timedelta(seconds=BEGIN_SECONDS)
START = datetime(2026, 1, 1, tzinfo=UTC)


class RunningClock(HeldClock):
    """The real time: a limit per second depends on it, whatever else the test controls."""

    def __call__(self) -> datetime:
        return utc_now()


@pytest.fixture
def clock() -> HeldClock:
    return RunningClock()


def most_within(times: Sequence[datetime], window: timedelta = WINDOW) -> int:
    """Return how many times are in the fullest window, wherever it begins."""
    ordered, first, most = sorted(times), 0, 0
    for last, time in enumerate(ordered):
        while time - ordered[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_the_fullest_window_is_found_wherever_it_begins() -> None:
    assert most_within([START + timedelta(milliseconds=each) for each in (0, 500, 900, 1400, 1499, 1500, 2000)]) == 4
    assert most_within([START, START + WINDOW]) == 1


@given(
    st.integers(1, 9),
    st.lists(
        st.tuples(st.floats(0, 0.6), st.floats(-0.2, 0.2), st.floats(0.01, 2), st.integers(1, 12), st.floats(0, 0.999)),
        max_size=40,
    ),
)
def test_no_second_holds_more_whoever_claims_in_which_order_for_how_long(rate: int, claims: list[Any]) -> None:
    """A claim may have started before another that got the lock first, and its POSTs start anywhere in its span."""
    spans: list[tuple[datetime, int]] = []
    begun: list[datetime] = []
    now = START
    for after, skew, length, wanted, where in claims:
        now += timedelta(seconds=after)
        asked = now + timedelta(seconds=skew)
        if wanted == 1:
            asked = earliest_begin(spans, rate, asked)
        count = min(wanted, rate - spent(spans, asked))
        if count > 0:
            spans.append((asked + timedelta(seconds=length), count))
            begun += [asked + timedelta(seconds=length * where)] * count
    assert most_within(begun) <= rate


def test_a_process_that_was_late_takes_longer_spans_for_a_while() -> None:
    assert next_span_length(BEGIN_SECONDS, was_late=False) == BEGIN_SECONDS
    assert next_span_length(BEGIN_SECONDS, was_late=True) == 2 * BEGIN_SECONDS
    assert next_span_length(4.0, was_late=True) == 5.0
    assert BEGIN_SECONDS < next_span_length(0.2, was_late=False) < 0.2


async def test_three_replicas_together_never_begin_more_than_an_endpoint_allows_in_a_second(
    database: Database, receiver: Receiver
) -> None:
    """Checked in every second, by the recorded starts of attempts and by the receiver's own log."""
    arrivals: dict[str, datetime] = {}

    async def note(post: Post) -> web.StreamResponse:
        arrivals[post.id.removeprefix("msg_")] = utc_now()
        return web.Response(status=204)

    receiver.answer = note
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(running_service(database, RunningClock())) for _ in range(3)]
        merchant = await make_merchant(replicas[0].admin, utc_now())
        caps: dict[uuid.UUID, int] = {}
        events = []
        for number, cap in enumerate(CAPS):
            partner = await make_partner(
                replicas[0].admin, merchant.program_id, merchant.program_key, f"P{number}", utc_now()
            )
            endpoint = await replicas[0].endpoint(partner.partner_key, receiver.url, rate_limit_per_second=cap)
            caps[uuid.UUID(endpoint["id"])] = cap
            events += [code_redeemed(partner) for _ in range(MESSAGES * cap // sum(CAPS))]
        events += [code_redeemed(partner) for _ in range(MESSAGES - len(events))]
        for first in range(0, MESSAGES, 100):
            await replicas[first // 100 % 3].consume(*events[first : first + 100])
        for count in range(MESSAGES // 4, MESSAGES + 1, MESSAGES // 4):
            # A deadline per quarter: on a busy machine a single one would be too loose.
            await until(lambda count=count: len(arrivals) >= count, f"{count} arrivals")  # type: ignore[misc]
        await replicas[0].settled(MESSAGES)
        rows = await replicas[0].query(
            "SELECT d.endpoint_id, d.message_id, a.started_at FROM webhooks.attempts a"
            " JOIN webhooks.deliveries d ON d.id = a.delivery_id"
        )
    # A result that a stalled database did not accept is sent once more.
    assert len(rows) >= MESSAGES
    for endpoint_id, cap in caps.items():
        sent = {row["message_id"].hex: row["started_at"] for row in rows if row["endpoint_id"] == endpoint_id}
        assert most_within(list(sent.values())) <= cap, cap
        assert all(at >= sent[name] for name, at in arrivals.items() if name in sent)
        prompt = [at for name, at in arrivals.items() if name in sent and at - sent[name] <= ALLOWANCE]
        assert most_within(prompt, WINDOW - ALLOWANCE) <= cap, cap


async def claim_by(connection: Connection, now: datetime) -> list[HeldDelivery]:
    """Claim in a transaction that stays open."""
    return await claims.claim(
        connection,
        now=now,
        limit=100,
        limit_bytes=10**9,
        leased_until=now + timedelta(seconds=60),
        token=1,
        start=uuid.uuid4(),
        rooms=[],
        room=100,
        ahead=10,
        asked=0.0,
        begin_within=60,
    )


async def claim(service: Service, begin_within: float) -> list[HeldDelivery]:
    return await service.queue.claim(100, 10**9, [], 100, begin_within)


async def test_claims_at_the_same_moment_share_one_limit(database: Database, clock: HeldClock) -> None:
    """Each counted what was left before the others took it: twice the limit was sent, or more."""
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(running_service(database, clock, sends=False)) for _ in range(3)]
        merchant = await make_merchant(replicas[0].admin, clock())
        await replicas[0].endpoint(merchant.partner_key, "https://example.com/", rate_limit_per_second=7)
        await replicas[0].consume(*(code_redeemed(merchant) for _ in range(60)))
        assert await claim(replicas[0], 60) == []
        async with replicas[0].pool.transaction() as connection:
            assert len(await claim_by(connection, clock())) == 7
            # The row is locked, so nothing is known of what is left.
            async with asyncio.timeout(DEADLINE_SECONDS):
                assert await claim(replicas[1], 60) == []
        claimed = await asyncio.gather(*(claim(each, 60) for _ in range(5) for each in replicas))
        assert sum(map(len, claimed)) == 0
        assert await claim(replicas[1], 60) == []
        # Once a window shorter than a second is over, nothing of it counts.
        await replicas[0].query("UPDATE webhooks.endpoint_rates SET span_ends = ARRAY[now() - interval '1 s']")
        await replicas[0].query("UPDATE webhooks.endpoint_rates SET span_counts = ARRAY[7]")
        assert len(await claim(replicas[1], 60)) == 7
        kept = await replicas[0].query("SELECT cardinality(span_ends) AS count FROM webhooks.endpoint_rates")
        assert [row["count"] for row in kept] == [1]


async def test_what_misses_its_turn_goes_back_unsent_and_burns_no_attempt(
    database: Database, clock: HeldClock, receiver: Receiver
) -> None:
    """Sent anyway, it would fall into a full second; and a slow machine must still be able to send."""
    async with running_service(database, clock, sends=False) as service:
        merchant = await make_merchant(service.admin, clock())
        await service.endpoint(merchant.partner_key, receiver.url, rate_limit_per_second=100)
        await service.consume(*(code_redeemed(merchant) for _ in range(3)))
        dispatcher = service.dispatcher
        assert await claim(service, 60) == []
        for begin_within, arrived in ((-2.0, 0), (60.0, 3)):
            dispatcher.sending.take(await claim(service, begin_within))
            await dispatcher.upkeep.load_targets()
            await dispatcher.sending.settle()
            assert len(receiver.posts) == arrived
            assert dispatcher.sending.was_late
            rows = await service.query("SELECT attempts_made FROM webhooks.deliveries WHERE attempts_made > 0")
            assert rows == []
            await dispatcher.upkeep.release()


async def test_a_new_limit_holds_for_what_waits_already(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """An owner who sets a limit because the receiver is overrun would see no effect on the backlog."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=5)
    release = receiver.hang()
    await service.consume(*(code_redeemed(merchant) for _ in range(12)))
    await until(lambda: receiver.under_way == 5)
    limit = {"rate_limit_per_second": 4}
    await service.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, limit)
    changed_at = utc_now()
    receiver.answer = None
    release.set()
    await service.settled(12)
    rows = await service.query("SELECT started_at FROM webhooks.attempts")
    later = [row["started_at"] for row in rows if row["started_at"] > changed_at]
    assert len(later) == 7
    assert most_within(later) <= 4


async def test_what_is_sent_by_hand_counts_too(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Manual retries would break the limit that the receiver relies on."""
    key = merchant.partner_key
    endpoint = await service.endpoint(key, receiver.url, rate_limit_per_second=3)
    await service.consume(*(code_redeemed(merchant) for _ in range(3)))
    await service.settled(3)
    [delivery, *_] = await service.pages("/deliveries", key)
    test, retry = f"/endpoints/{endpoint['id']}/test", f"/deliveries/{delivery['id']}/retry"
    answers = await asyncio.gather(*(service.send("POST", door, key) for door in (test, retry, test, test)))
    assert [answer.data["status"] for answer in answers] == [204] * 4
    rows = await service.query("SELECT started_at FROM webhooks.attempts")
    assert len(rows) == 7
    assert most_within([row["started_at"] for row in rows]) <= 3
    monkeypatch.setattr(take_turns, "LONGEST_WAIT_SECONDS", 0.0)
    # At once, and more than three seconds allow: one by one a busy machine may take a second for each.
    answers = await asyncio.gather(*(service.send("POST", door, key) for door in (test, retry) * 6))
    refused = next(answer for answer in answers if answer.status == 429)
    assert (refused.status, refused.body["code"]) == (429, "endpoint_rate_limited")
    assert int(refused.headers["Retry-After"]) >= 1
