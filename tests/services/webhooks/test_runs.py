"""Runs of an ordered endpoint: followers are leased with the first delivery, and sent only while each succeeds."""

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from services.webhooks.dispatcher.flights import SLOW_SECONDS
from services.webhooks.dispatcher.holdings import MOST_BYTES
from services.webhooks.domain.deliveries import LEASE_SECONDS, Answer, HeldDelivery, Settlement, decide
from shared.ids import new_id
from tests.databases import Database
from tests.services.webhooks.conftest import (
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    make_merchant,
    running_service,
    until,
)
from tests.services.webhooks.receiver import Post, Receiver

FIRST, SECOND = new_id(), new_id()
ROOM = 100


@asynccontextmanager
async def waiting(
    database: Database, clock: HeldClock, url: str, count: int = 6, **members: object
) -> AsyncIterator[Service]:
    """A single process that sends nothing, with a line waiting for an ordered endpoint."""
    async with running_service(database, clock, sends=False) as service:
        service.dispatcher.sending.is_stopping = True
        merchant = await make_merchant(service.admin, clock())
        await service.endpoint(merchant.partner_key, url, **{"ordering": "strict", **members})
        await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(count)))
        yield service


async def claim(service: Service, *, limit: int = 500, limit_bytes: int = MOST_BYTES, room: int = ROOM) -> list[str]:
    """Claim, and return the codes of the only head and of its followers."""
    [head] = await claimed(service, limit=limit, limit_bytes=limit_bytes, room=room)
    return codes(head, *head.followers)


async def claimed(
    service: Service, *, limit: int = 500, limit_bytes: int = MOST_BYTES, room: int = ROOM
) -> list[HeldDelivery]:
    return await service.queue.claim(limit, limit_bytes, [], room)


def codes(*held: HeldDelivery | Post) -> list[str]:
    return [json.loads(each.body)["code"] for each in held]


async def record(service: Service, held: HeldDelivery, status: int, control: str | None = None) -> None:
    """Write a receiver's response, as the dispatcher does, and then vanish."""
    target = (await service.queue.targets([held.endpoint_id]))[held.endpoint_id]
    now = service.clock()
    answer = Answer(now, 1, status, None, None, control=control)
    decision = decide(answer, held.step, held.ends_at, now, 0, 0.5)
    if decision.status == "succeeded":
        # After a success its followers go on with the delivery after it.
        held = replace(held, followers=deque())
    await service.queue.settle([Settlement(held, target, answer, decision)])


async def due(service: Service) -> list[str]:
    """Return what any process may claim now, whatever its place: the due rows."""
    rows = await service.query(
        "SELECT convert_from(m.body, 'UTF8') AS body FROM webhooks.delivery_queue q"
        " JOIN webhooks.messages m ON m.id = q.message_id AND m.format = q.format"
        " WHERE q.visible_at <= $1 ORDER BY q.position",
        service.clock(),
    )
    return [json.loads(row["body"])["code"] for row in rows]


class TestAClaim:
    async def test_takes_what_follows_in_a_line_with_its_first(
        self, database: Database, clock: HeldClock, receiver: Receiver
    ) -> None:
        async with waiting(database, clock, receiver.url) as service:
            assert await claim(service) == [f"C{n}" for n in range(6)]
            assert await claimed(service) == []

    @pytest.mark.parametrize(("limits", "count"), [({"room": 3}, 3), ({"limit": 2}, 2), ({"limit_bytes": 1}, 1)])
    async def test_takes_no_more_than_there_is_room_for(
        self,
        database: Database,
        clock: HeldClock,
        receiver: Receiver,
        limits: dict[str, int],
        count: int,
    ) -> None:
        async with waiting(database, clock, receiver.url) as service:
            assert await claim(service, **limits) == [f"C{n}" for n in range(count)]
            # The rest of the run is unleased, and waits for its turn.
            assert await due(service) == []

    async def test_takes_bodies_up_to_a_sum(self, database: Database, clock: HeldClock, receiver: Receiver) -> None:
        async with waiting(database, clock, receiver.url) as service:
            rows = await service.query("SELECT max(octet_length(body)) AS bytes FROM webhooks.messages")
            assert await claim(service, limit_bytes=3 * rows[0]["bytes"] + 1) == ["C0", "C1", "C2"]

    async def test_takes_runs_of_several_lines_fairly(
        self, database: Database, clock: HeldClock, receiver: Receiver
    ) -> None:
        async with waiting(database, clock, receiver.url, 0, ordering="key") as service:
            merchant = await make_merchant(service.admin, clock())
            await service.endpoint(merchant.partner_key, receiver.url, ordering="key")
            for number in range(4):
                events = (code_redeemed(merchant, f"C{number}", code_id=code_id) for code_id in (FIRST, SECOND))
                await service.consume(*events)
            heads = await claimed(service, room=6)
            assert [codes(head, *head.followers) for head in heads] == [["C0", "C1", "C2"]] * 2

    async def test_leaves_no_gap_where_somebody_else_has_one_in_hand(
        self, database: Database, clock: HeldClock, receiver: Receiver
    ) -> None:
        """A delivery behind the gap would overtake the one in it."""
        async with (
            waiting(database, clock, receiver.url) as service,
            service.pool.transaction() as other,
        ):
            await other.execute(
                "SELECT 1 FROM delivery_queue"
                " WHERE delivery_id = (SELECT delivery_id FROM delivery_queue ORDER BY position OFFSET 2 LIMIT 1)"
                " FOR UPDATE"
            )
            assert await claim(service) == ["C0", "C1"]

    async def test_takes_no_run_behind_a_breaker_that_has_opened(
        self, database: Database, clock: HeldClock, receiver: Receiver
    ) -> None:
        async with waiting(database, clock, receiver.url) as service:
            await service.query("UPDATE webhooks.endpoints SET breaker = 'open', breaker_trips = 1")
            assert await claim(service) == ["C0"]

    async def test_takes_no_run_of_what_has_a_limit_per_second(
        self, database: Database, clock: HeldClock, receiver: Receiver
    ) -> None:
        """Each delivery of a run would need its own token and start time."""
        async with waiting(database, clock, receiver.url, rate_limit_per_second=50) as service:
            # The first claim creates the row in which sent deliveries are counted.
            assert await claimed(service) == []
            assert await claim(service) == ["C0"]


class TestAProcessThatDies:
    async def test_leaves_its_line_to_be_gone_on_with_from_its_first(
        self, database: Database, clock: HeldClock, receiver: Receiver
    ) -> None:
        """All leases of the run expire at the same moment: a follower must not be taken for the first."""
        async with waiting(database, clock, receiver.url) as service:
            [head] = await claimed(service)
            await record(service, head, 204)
            clock.advance(seconds=LEASE_SECONDS + 1)
            assert await due(service) == [f"C{n}" for n in range(1, 6)]
            assert await claim(service, room=2) == ["C1", "C2"]
            assert await claimed(service) == []

    async def test_after_a_failure_lets_nothing_pass_that_followed(
        self, database: Database, clock: HeldClock, receiver: Receiver
    ) -> None:
        async with waiting(database, clock, receiver.url) as service:
            [head] = await claimed(service)
            await record(service, head, 500)
            clock.advance(seconds=1)
            assert await claimed(service) == []
            clock.advance(seconds=LEASE_SECONDS + 1)
            assert await claim(service) == [f"C{n}" for n in range(6)]

    @pytest.mark.parametrize(("on_exhausted", "goes_on"), [("block", []), ("skip", ["C1"])])
    async def test_after_a_death_holds_the_line_up_only_where_that_is_wanted(
        self,
        database: Database,
        clock: HeldClock,
        receiver: Receiver,
        on_exhausted: str,
        goes_on: list[str],
    ) -> None:
        async with waiting(database, clock, receiver.url, on_exhausted=on_exhausted) as service:
            [head] = await claimed(service)
            await record(service, head, 500, "abort-message")
            assert await due(service) == goes_on
            clock.advance(seconds=LEASE_SECONDS + 1)
            assert await due(service) == goes_on

    async def test_cannot_write_results_of_a_run_that_another_has_taken_over(
        self, database: Database, clock: HeldClock, receiver: Receiver
    ) -> None:
        """A stale worker would mark deliveries that another is about to send."""
        async with waiting(database, clock, receiver.url) as service:
            [late] = await claimed(service)
            clock.advance(seconds=LEASE_SECONDS + 1)
            assert len(await claim(service)) == 6
            for held in (late, *late.followers):
                await record(service, held, 500, "abort-message")
            assert await service.query("SELECT 1 FROM webhooks.dead_letters") == []
            assert await due(service) == []


class TestWhatIsNotSent:
    async def test_waits_for_its_turn_again(self, database: Database, clock: HeldClock, receiver: Receiver) -> None:
        async with waiting(database, clock, receiver.url) as service:
            [head] = await claimed(service)
            await service.queue.give_back([head, *head.followers])
            assert await due(service) == ["C0"]
            assert await claim(service) == [f"C{n}" for n in range(6)]

    async def test_is_given_back_where_the_first_has_come_to_its_end(
        self, database: Database, clock: HeldClock, receiver: Receiver
    ) -> None:
        async with waiting(database, clock, receiver.url) as service:
            [head] = await claimed(service)
            await service.queue.give_up([head], "expired")
            assert await due(service) == ["C1"]


async def test_a_run_is_sent_one_after_the_other_and_counted_out(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(60)))
    await service.settled(60)
    assert codes(*receiver.posts) == [f"C{n}" for n in range(60)]
    assert receiver.most_under_way == 1
    await service.stays_idle()
    holdings = service.dispatcher.sending
    assert (holdings.bytes_waiting, [pipe.held for pipe in holdings.pipes.values()]) == (0, [0])


async def test_a_failure_ends_the_run_and_what_followed_comes_after_the_retry(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """The rest of the run would overtake the failed delivery."""

    async def answer(post: Post) -> web.StreamResponse:
        has_failed = [each.id for each in receiver.posts].count(post.id) == 1 and b'"C3"' in post.body
        return web.Response(status=500 if has_failed else 204)

    receiver.answer = answer
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(8)))
    await service.attempted(4)
    await service.stays_idle()
    assert codes(*receiver.posts) == ["C0", "C1", "C2", "C3"]
    service.clock.advance(seconds=7)
    await service.settled(8)
    assert codes(*receiver.posts) == ["C0", "C1", "C2", "C3", *(f"C{n}" for n in range(3, 8))]


async def test_a_pause_stops_a_run_before_its_next_delivery(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    release = receiver.hang()
    made = await service.endpoint(merchant.partner_key, receiver.url, ordering="strict", status="paused")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(8)))
    await service.send("PATCH", f"/endpoints/{made['id']}", merchant.partner_key, {"status": "active"})
    await until(lambda: receiver.posts)
    await service.send("PATCH", f"/endpoints/{made['id']}", merchant.partner_key, {"status": "paused"})
    release.set()
    await service.settled(1)
    await service.stays_idle()
    assert codes(*receiver.posts) == ["C0"]
    await service.send("PATCH", f"/endpoints/{made['id']}", merchant.partner_key, {"status": "active"})
    await service.settled(8)
    assert codes(*receiver.posts) == [f"C{n}" for n in range(8)]


async def test_a_process_that_stops_leaves_the_rest_of_a_run_to_others_at_once(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    release = receiver.hang()
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(8)))
    await until(lambda: receiver.posts)
    service.dispatcher.sending.is_stopping = True
    release.set()
    await service.dispatcher.stop()
    async with running_service(database, clock):
        await service.settled(8)
    assert codes(*receiver.posts) == [f"C{n}" for n in range(8)]


async def test_what_follows_a_post_that_takes_long_takes_no_room(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that hangs costs a process one delivery, however many wait behind it."""
    monkeypatch.setattr("services.webhooks.dispatcher.flights.SLOW_SECONDS", SLOW_SECONDS / 10)
    release = receiver.hang()
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict", status="paused")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(8)))
    await service.query("UPDATE webhooks.endpoints SET status = 'active', version = version + 1")
    service.dispatcher.sending.wake()
    await until(lambda: receiver.posts)
    await until(lambda: not service.dispatcher.sending.count, "nothing held")
    release.set()
    await service.settled(8)
    assert codes(*receiver.posts) == [f"C{n}" for n in range(8)]
