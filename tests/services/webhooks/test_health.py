"""An endpoint without any success for days: warnings, disabling, and the way back."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.domain.health import DISABLE_AFTER, MIN_FAILING, Finding, Health, after_failure, after_success
from tests.databases import Database
from tests.services.webhooks.conftest import (
    DEADLINE_SECONDS,
    Merchant,
    Service,
    code_redeemed,
    running_service,
    until,
)
from tests.services.webhooks.receiver import Post, Receiver

_ATTEMPTED = "SELECT 1 FROM webhooks.deliveries WHERE attempts_made > 0"
START = datetime(2026, 3, 16, tzinfo=UTC)


def course(*hours: float, health: Health | None = None) -> list[Finding]:
    """Fail at these hours after the start."""
    found, health = [], health or Health()
    for each in hours:
        found.append(after_failure(health, START + timedelta(hours=each)))
        health = found[-1].health
    return found


def test_it_is_disabled_exactly_when_five_days_are_over() -> None:
    assert not course(0, 13, 119.99)[-1].is_to_be_disabled
    assert course(0, 13, 120)[-1].is_to_be_disabled


def test_it_is_warned_once_at_half_and_once_near_the_end() -> None:
    warnings = [finding.warning for finding in course(0, 13, 59.9, 60, 61, 80, 107.9, 108, 109, 119)]
    assert warnings == [0, 0, 0, 50, 0, 0, 0, 90, 0, 0]


def test_only_the_later_warning_comes_if_both_are_due() -> None:
    assert [finding.warning for finding in course(0, 13, 110)] == [0, 0, 90]


def test_a_lone_failure_of_long_ago_does_not_disable_at_the_next_one() -> None:
    found = course(0, 500, 501)
    assert [finding.is_to_be_disabled for finding in found] == [False, False, True]


def test_a_burst_is_no_proof_however_long_ago() -> None:
    assert not course(0, 0.1, 11.9, 130)[-1].is_to_be_disabled


def test_a_success_resets_it() -> None:
    failing = course(0, 13, 61)[-1].health
    healed = after_success(failing, START + timedelta(hours=62))
    assert healed.has_recovered
    assert healed.health.failing_since is None
    assert not course(120, 133, 200, health=healed.health)[-1].is_to_be_disabled


def test_a_success_of_which_no_warning_was_given_is_nothing_to_tell() -> None:
    assert not after_success(course(0, 13)[-1].health, START + timedelta(hours=14)).has_recovered
    assert not after_success(Health(), START).has_recovered


def test_an_old_success_that_is_written_late_does_not_hide_a_failure() -> None:
    failing = course(1)[-1].health
    assert after_success(failing, START).health == failing


@given(st.lists(st.floats(0, 400), min_size=1, max_size=60))
def test_each_warning_comes_at_most_once_and_the_end_never_before_its_time(hours: list[float]) -> None:
    found = course(*sorted(hours))
    warnings = [finding.warning for finding in found if finding.warning]
    assert warnings in ([], [50], [90], [50, 90])
    for finding, hour in zip(found, sorted(hours), strict=True):
        if finding.is_to_be_disabled:
            at = START + timedelta(hours=hour)
            assert finding.health.failing_since is not None
            assert at - finding.health.failing_since >= DISABLE_AFTER > MIN_FAILING


async def failing_for(service: Service, merchant: Merchant, *hours: int) -> None:
    """Let a new delivery fail at these hours after the first one."""
    passed = 0
    for number, each in enumerate((0, *hours), 1):
        service.clock.advance(hours=each - passed)
        passed = each
        await service.consume(code_redeemed(merchant, f"C{number}"))
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(await service.query(_ATTEMPTED)) < number:  # noqa: ASYNC110 - written by the service, in a table
                await asyncio.sleep(0.01)


async def test_warnings_the_end_and_the_way_back(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await failing_for(service, merchant, 13, 61, 109)
    warnings = await service.heard("webhook.endpoint_failing", 2)
    assert [warning["level"] for warning in warnings] == [50, 90]
    assert {warning["endpoint_id"] for warning in warnings} == {endpoint["id"]}
    assert (warnings[0]["last_status"], warnings[0]["event_type"]) == (500, "code.redeemed")
    service.clock.advance(hours=12)
    await service.consume(code_redeemed(merchant, "LAST"))
    [disabled] = await service.heard("webhook.endpoint_disabled")
    assert disabled["reason"] == "failing"
    assert len(service.events("webhook.endpoint_failing")) == 2
    path = f"/endpoints/{endpoint['id']}"
    shown = await service.send("GET", path, merchant.partner_key)
    assert (shown.data["status"], shown.data["disabled_reason"]) == ("disabled", "failing")
    receiver.status = 204
    await service.consume(code_redeemed(merchant, "MISSED"))
    await service.send("PATCH", path, merchant.partner_key, {"status": "active"})
    await service.consume(code_redeemed(merchant, "AGAIN"))
    await until(lambda: any(b"AGAIN" in post.body for post in receiver.posts))
    assert not any(b"MISSED" in post.body for post in receiver.posts)


async def test_two_processes_that_find_it_failing_at_once_warn_once(
    database: Database, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await failing_for(service, merchant, 13)
    release = receiver.hang(500)
    service.clock.advance(hours=48)
    async with running_service(database, service.clock) as other:
        for process in (service, other):
            await process.consume(code_redeemed(merchant, f"C{id(process)}"))
            await until(lambda process=process: process.dispatcher.sending.in_flight)  # type: ignore[misc]
        before = (await service.query("SELECT count(*) FROM webhooks.attempts"))[0]["count"]
        under_way = receiver.under_way
        release.set()
        await service.attempted(before + under_way)
        await until(lambda: service.events("webhook.endpoint_failing") or other.events("webhook.endpoint_failing"))
    told = [*service.events("webhook.endpoint_failing"), *other.events("webhook.endpoint_failing")]
    assert [warning["level"] for warning in told] == [50]
    stored = await service.query("SELECT 1 FROM webhooks.events WHERE type = 'webhook.endpoint_failing'")
    assert len(stored) == 1


async def test_a_recovery_is_told_of_once(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await failing_for(service, merchant, 13, 61)
    assert len(await service.heard("webhook.endpoint_failing")) == 1
    receiver.status = 204
    service.clock.advance(hours=1)
    await service.settled(3)
    service.clock.advance(hours=1)
    await service.consume(code_redeemed(merchant, "NEXT"))
    await service.settled(4)
    assert len(await service.heard("webhook.recovered")) == 1
    rows = await service.query("SELECT failing_since, warned_level FROM webhooks.endpoints")
    assert (rows[0]["failing_since"], rows[0]["warned_level"]) == (None, 0)


async def test_a_success_now_and_then_keeps_it_alive(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)

    async def answer(post: Post) -> web.StreamResponse:
        return web.Response(status=204 if b'"code":"C3"' in post.body else 500)

    receiver.answer = answer
    await failing_for(service, merchant, 13, 100, 120, 140)
    shown = await service.send("GET", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    assert shown.data["status"] == "active"
    assert service.events("webhook.endpoint_failing") == []


async def test_one_that_flaps_for_a_week_is_neither_warned_nor_disabled(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Every success resets the clock, however many attempts fail in between."""

    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    for turn in range(7):
        receiver.status = 500
        await service.consume(code_redeemed(merchant, f"BAD{turn}"))
        await service.attempted(3 * turn + 1)
        service.clock.advance(hours=13)
        receiver.status = 204
        service.dispatcher.sending.wake()
        await service.consume(code_redeemed(merchant, f"GOOD{turn}"))
        await service.attempted(3 * turn + 3)
        await service.settled(2 * turn + 2)
        service.clock.advance(hours=13)
    shown = await service.send("GET", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    assert (shown.data["status"], shown.data["disabled_reason"]) == ("active", None)
    assert not {event.type for event in service.handed_over} & {"webhook.endpoint_failing", "webhook.recovered"}


@given(st.lists(st.tuples(st.floats(0.1, 59), st.booleans()), max_size=60))
def test_no_course_with_a_success_every_two_days_is_worth_a_warning(course: list[tuple[float, bool]]) -> None:
    health, now, last_success = Health(), START, START
    for hours, has_succeeded in course:
        now += timedelta(hours=hours)
        if has_succeeded or now - last_success >= DISABLE_AFTER / 2:
            recovered = after_success(health, now)
            health, last_success = recovered.health, now
            assert not recovered.has_recovered
        else:
            finding = after_failure(health, now)
            health = finding.health
            assert (finding.warning, finding.is_to_be_disabled) == (0, False)


@pytest.mark.parametrize("status", [204, 500])
async def test_a_receiver_may_ask_that_nothing_more_comes(
    service: Service, merchant: Merchant, receiver: Receiver, status: int
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status, receiver.headers = status, {"webhook-delivery": "disable"}
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "succeeded" if status == 204 else "dead")
    await service.heard("webhook.endpoint_disabled")
    shown = await service.send("GET", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    assert (shown.data["status"], shown.data["disabled_reason"]) == ("disabled", "receiver_asked")


async def test_a_receiver_may_ask_that_a_message_is_not_tried_again(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status, receiver.headers = 422, {"webhook-delivery": "abort-message"}
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "dead")
    letters = (await service.send("GET", "/dead-letters", merchant.partner_key)).data
    assert [(letter["reason"], letter["attempts_made"]) for letter in letters] == [("aborted_by_receiver", 1)]
    shown = await service.send("GET", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    assert shown.data["status"] == "active"
