"""An endpoint that keeps failing gets nothing for a while, and is then probed with one delivery at a time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.dispatcher.pipes import Pipe
from services.webhooks.domain.breaker import Breaker, open_for
from services.webhooks.domain.deliveries import SUCCEEDED, HeldDelivery
from shared.ids import new_id
from tests.databases import Database
from tests.services.webhooks.conftest import HeldClock, Merchant, Service, code_redeemed, running_service, until
from tests.services.webhooks.receiver import Post, Receiver
from tests.services.webhooks.test_maintenance import maintenance_of


def outcomes(breaker: Breaker, course: str, seconds_apart: float = 0.1) -> int | None:
    """Note a course of outcomes (`+` and `-`); return those at which the breaker opened."""
    for number, each in enumerate(course):
        if breaker.note(number * seconds_apart, has_succeeded=each == "+"):
            return number
    return None


def test_five_failures_in_a_row_open_it() -> None:
    assert outcomes(Breaker(), "++----+-----") == 11
    assert outcomes(Breaker(), "----+" * 3) is None


def test_half_of_at_least_twenty_within_a_minute_open_it() -> None:
    assert outcomes(Breaker(), "+-" * 10) == 19
    assert outcomes(Breaker(), "+-" * 9 + "++") is None
    assert outcomes(Breaker(), "+-" * 30, seconds_apart=4) is None
    assert outcomes(Breaker(), "++-" * 50) is None


def test_a_success_never_opens_it() -> None:
    breaker = Breaker()
    outcomes(breaker, "----")
    assert not breaker.note(1, has_succeeded=True)


def test_once_forgotten_it_begins_anew() -> None:
    breaker = Breaker()
    outcomes(breaker, "----")
    breaker.forget()
    assert outcomes(breaker, "----") is None


@given(st.integers(1, 1000))
def test_it_stays_open_for_twice_as_long_each_time_up_to_half_an_hour(trips: int) -> None:
    assert open_for(1) == timedelta(seconds=30)
    assert open_for(trips) <= open_for(trips + 1) <= min(2 * open_for(trips), timedelta(minutes=30))


async def failed_five_times(service: Service, merchant: Merchant, receiver: Receiver) -> str:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=1)
    receiver.status = 500
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(8)))
    await service.attempted(5)
    endpoint_id: str = endpoint["id"]
    return endpoint_id


async def breaker_of(service: Service) -> tuple[str, int]:
    rows = await service.query("SELECT breaker, breaker_trips FROM webhooks.endpoints")
    return rows[0]["breaker"], rows[0]["breaker_trips"]


async def test_after_five_failures_nothing_goes_out_for_half_a_minute_and_no_attempt_is_burnt(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint_id = await failed_five_times(service, merchant, receiver)
    assert await breaker_of(service) == ("open", 1)
    service.clock.advance(seconds=29)
    await service.consume(code_redeemed(merchant, "LATE"))
    await service.claimed_again()
    assert len(receiver.posts) == 5
    rows = await service.query("SELECT attempts_made FROM webhooks.deliveries ORDER BY 1")
    assert [row["attempts_made"] for row in rows] == [0] * 4 + [1] * 5
    shown = await service.send("GET", f"/endpoints/{endpoint_id}", merchant.partner_key)
    assert shown.data["status"] == "active"
    assert shown.data["resume_at"] is not None


async def resume_times(service: Service, endpoint_id: str, key: str) -> set[Any]:
    """Return what every route shows about when the endpoint is sent to again."""
    path = f"/endpoints/{endpoint_id}"
    shown = [await service.send("GET", each, key) for each in (path, f"{path}/health")]
    changed = await service.send("PATCH", path, key, {"description": "x"})
    rotated = await service.send("POST", f"{path}/keys/rotate", key, {})
    listed = await service.send("GET", "/endpoints", key)
    return {each.data["resume_at"] for each in (*shown, changed, rotated)} | {each["resume_at"] for each in listed.data}


async def test_once_it_is_sent_to_again_no_door_says_when_that_will_be(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """A time in the past would read as if nothing were sent to the receiver yet."""
    key = merchant.partner_key
    endpoint_id = await failed_five_times(service, merchant, receiver)
    assert None not in await resume_times(service, endpoint_id, key)
    await service.send("PATCH", f"/endpoints/{endpoint_id}", key, {"status": "paused"})
    assert await resume_times(service, endpoint_id, key) == {None}


@pytest.mark.parametrize("door", ["resume", "enable", "clock", "pause_ends", "archive"])
async def test_resume_at_is_empty_once_resumed(
    service: Service, merchant: Merchant, receiver: Receiver, door: str
) -> None:
    """However it was resumed (manually, by the clock, at the end of a pause, by enabling), no route shows a time."""
    key = merchant.partner_key
    endpoint_id = await failed_five_times(service, merchant, receiver)
    path = f"/endpoints/{endpoint_id}"
    receiver.status = 204
    service.clock.advance(seconds=29)
    assert (await service.send("GET", path, key)).data["resume_at"] is not None
    if door in ("resume", "enable"):
        answer = await service.send("POST", f"{path}/{door}", key)
        assert answer.data["resume_at"] is None
    elif door == "pause_ends":
        # As an older version may have left it: paused, with a rest that was not cleared.
        await service.query(
            "UPDATE webhooks.endpoints SET status = 'paused', paused_until = $1, version = version + 1", service.clock()
        )
        await maintenance_of(service).resume_endpoints()
    service.clock.advance(seconds=1)
    if door == "archive":
        assert (await service.send("DELETE", path, key)).data["resume_at"] is None
    else:
        assert await resume_times(service, endpoint_id, key) == {None}


async def test_the_first_after_that_is_a_probe_whose_success_closes_it(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await failed_five_times(service, merchant, receiver)
    release = receiver.hang()
    service.clock.advance(seconds=31)
    await until(lambda: receiver.under_way == 1)
    await service.claimed_again()
    assert receiver.under_way == 1
    receiver.answer, receiver.status = None, 204
    release.set()
    await service.settled(8)
    assert await breaker_of(service) == ("closed", 0)


async def test_a_probe_that_fails_opens_it_for_twice_as_long(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await failed_five_times(service, merchant, receiver)
    service.clock.advance(seconds=31)
    await service.attempted(6)
    assert await breaker_of(service) == ("open", 2)
    service.clock.advance(seconds=59)
    await service.claimed_again()
    assert len(receiver.posts) == 6
    receiver.status = 204
    service.clock.advance(seconds=2)
    await service.settled(8)
    assert await breaker_of(service) == ("closed", 0)


async def test_one_that_flaps_is_left_alone_for_half_a_minute_each_time_and_gets_everything_in_the_end(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Success, failure, success: half failing opens the breaker, a successful probe closes it."""

    async def flap(_: Post) -> web.StreamResponse:
        return web.Response(status=500 if len(receiver.posts) % 2 == 0 else 204)

    await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=1)
    receiver.answer = flap
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(45)))
    await service.attempted(20)
    await service.stays_idle()
    assert (len(receiver.posts), await breaker_of(service)) == (20, ("open", 1))
    service.clock.advance(seconds=31)
    # The probe, and the failure that opens it again: after it was closed, the pause does not grow.
    await service.attempted(1 + 20 + 21)
    await service.stays_idle()
    assert (len(receiver.posts), await breaker_of(service)) == (42, ("open", 1))
    receiver.answer = None
    service.clock.advance(minutes=10)
    await service.settled(45)
    assert await breaker_of(service) == ("closed", 0)
    assert len({post.id for post in receiver.posts}) == 45
    numbers = await service.query(
        "SELECT array_agg(number ORDER BY number) AS n FROM webhooks.attempts GROUP BY delivery_id"
    )
    assert all(row["n"] == list(range(1, len(row["n"]) + 1)) for row in numbers)


async def test_it_is_open_for_other_processes_too_and_they_probe_together_once(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await failed_five_times(service, merchant, receiver)
    async with running_service(database, clock) as other:
        await other.consume(*(code_redeemed(merchant, f"D{n}") for n in range(5)))
        await other.claimed_again()
        assert len(receiver.posts) == 5
        release = receiver.hang()
        clock.advance(seconds=31)
        await until(lambda: receiver.under_way == 1)
        await other.claimed_again()
        await service.claimed_again()
        assert receiver.under_way == 1
        receiver.answer, receiver.status = None, 204
        release.set()
        await service.settled(13)


async def test_an_endpoint_that_is_enabled_again_is_tried_with_one_delivery_first(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 410
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "dead")
    release = receiver.hang()
    await service.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, {"status": "active"})
    assert await breaker_of(service) == ("half_open", 1)
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(5)))
    await until(lambda: receiver.under_way == 1)
    await service.claimed_again()
    assert receiver.under_way == 1
    release.set()
    await service.settled(5)
    assert await breaker_of(service) == ("closed", 0)


async def test_a_receiver_that_says_when_to_come_back_is_not_broken(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=1)
    receiver.status, receiver.headers = 429, {"Retry-After": "1"}
    for number in range(1, 8):
        await service.consume(code_redeemed(merchant, f"C{number}"))
        await service.attempted(number)
        service.clock.advance(seconds=2)
    assert await breaker_of(service) == ("closed", 0)


def test_a_success_that_is_news_of_an_endpoints_health_takes_nothing_from_it() -> None:
    """A receiver that answers keeps its priority over unproven ones, and an older POST does not make it slow."""
    now = datetime(2026, 3, 18, tzinfo=UTC)
    pipe = Pipe(new_id(), 10)
    delivery = HeldDelivery(
        delivery_id=new_id(),
        endpoint_id=pipe.endpoint_id,
        endpoint_version=1,
        message_id=new_id(),
        event_type="code.redeemed",
        body=b"{}",
        step=1,
        trigger="automatic",
        ends_at=now,
        token=1,
        lease_ends=0.0,
        sequence=1,
    )
    pipe.note_success(5, 20.0)
    assert pipe.is_news(SUCCEEDED, delivery, now)
    assert pipe.is_proven
    pipe.note_slow(10.0)
    assert not pipe.is_stuck
