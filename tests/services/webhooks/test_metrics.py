"""What `/metrics` shows of deliveries: attempts by answer and trigger, end-to-end time, endpoints held back."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, get_args

import pytest
from aiohttp import ClientTimeout
from prometheus_client.parser import text_string_to_metric_families

from services.webhooks.domain.certificates import Within
from services.webhooks.domain.deliveries import ErrorCode
from services.webhooks.domain.endpoints import PauseReason
from services.webhooks.sender import client
from tests.databases import Database
from tests.services.webhooks.conftest import (
    DEADLINE_SECONDS,
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    look_after_endpoints,
    make_merchant,
    running_service,
)
from tests.services.webhooks.receiver import Receiver
from tests.services.webhooks.test_breaker import failed_five_times
from tests.services.webhooks.test_maintenance import maintenance_of

ATTEMPTS = "mintwire_webhook_attempts_total"
WAY = "mintwire_webhook_delivery_seconds"
HELD, IN_FLIGHT, DUE = "mintwire_webhooks_held", "mintwire_webhooks_in_flight", "mintwire_webhooks_due"
UNWRITTEN = "mintwire_webhooks_unwritten"
CLASSES = frozenset(f"{digit}xx" for digit in range(10))
# Every label of the metrics of webhooks, with all its possible values.
LABELS: Mapping[str, frozenset[str]] = {
    "answer": CLASSES | frozenset(get_args(ErrorCode)),
    "trigger": frozenset({"automatic", "manual", "replay", "test"}),
    "tries": frozenset({"first", "later"}),
    "state": frozenset({"active", "resting", "paused", "disabled"}),
    "breaker": frozenset({"closed", "open", "half_open"}),
    "within": frozenset(get_args(Within)),
    "reason": frozenset(get_args(PauseReason)) | {"failing", "gone", "receiver_asked"},
    "what": frozenset({"messages", "attempts", "deliveries"}),
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def read(service: Service) -> Samples:
    """Return all samples as Prometheus gets them."""
    async with service.http.get("/metrics") as response:
        assert response.status == 200
        text = await response.text()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def value(service: Service, name: str, **labels: str) -> float:
    return (await read(service)).get((name, frozenset(labels.items())), 0.0)


async def until_says(service: Service, condition: Callable[[Samples], bool]) -> None:
    """Wait until the metrics have a value: they are counted after the commit."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition(await read(service)):  # noqa: ASYNC110 - metrics have no event to wait on
            await asyncio.sleep(0.01)


def said(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def by_label(samples: Samples, name: str, label: str) -> dict[str, float]:
    """Return the values of a metric that are not 0, by its only label."""
    return {dict(labels)[label]: number for (each, labels), number in samples.items() if each == name and number}


def attempts(after: Samples, before: Samples) -> dict[tuple[str, str], float]:
    """Return how many attempts were counted since, by answer and trigger."""
    counted = {}
    for (name, labels), number in after.items():
        if name == ATTEMPTS and number > before.get((name, labels), 0.0):
            named = dict(labels)
            counted[named["answer"], named["trigger"]] = number - before.get((name, labels), 0.0)
    return counted


async def test_attempts_are_counted_by_the_class_of_the_answer(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    for number, status in enumerate((204, 301, 404, 500, 200)):
        before = await read(service)
        receiver.status = status
        await service.consume(code_redeemed(merchant, f"C{number}"))
        await service.attempted(number + 1)
        assert attempts(await read(service), before) == {(f"{status // 100}xx", "automatic"): 1}


def _look_up(name: str) -> Sequence[tuple[int, str]]:
    return [(socket.AF_INET, "10.0.0.1" if name.startswith("inner") else "93.184.216.34")]


async def test_where_no_answer_came_they_are_counted_by_the_error_code(
    database: Database, clock: HeldClock, receiver: Receiver, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that hangs, a port without a listener, and a name that leads into an internal network."""
    monkeypatch.setattr(client, "timeout_of", lambda _: ClientTimeout(total=0.3))
    release = receiver.hang()
    async with running_service(database, clock, lookup=_look_up) as service:
        merchant = await make_merchant(service.admin, clock())
        made = await service.endpoint(merchant.partner_key, "https://hooks.example.com/")
        await service.query(
            "UPDATE webhooks.endpoints SET url = 'https://inner.example.com/' WHERE id = $1::text::uuid", made["id"]
        )
        for url in (receiver.url, f"http://127.0.0.1:{unused_tcp_port}/hook"):
            await service.endpoint(merchant.partner_key, url)
        before = await read(service)
        await service.consume(code_redeemed(merchant))
        await service.attempted(3)
        assert attempts(await read(service), before) == {
            ("timeout", "automatic"): 1,
            ("connect_failed", "automatic"): 1,
            ("blocked_address", "automatic"): 1,
        }
    release.set()


async def test_attempts_are_counted_by_what_made_them(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status, receiver.headers = 500, {"webhook-delivery": "abort-message"}
    before = await read(service)
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "dead")
    [delivery] = await service.query("SELECT id::text FROM webhooks.deliveries")
    path = f"/deliveries/{delivery['id']}"
    await service.send("POST", f"{path}/retry", merchant.partner_key)
    await service.send("POST", f"/endpoints/{endpoint['id']}/test", merchant.partner_key)
    receiver.status, receiver.headers = 204, {}
    await service.send("POST", f"/dead-letters/{delivery['id']}/replay", merchant.partner_key)
    await service.settled(1)
    await service.send("POST", f"{path}/retry", merchant.partner_key)
    assert attempts(await read(service), before) == {
        ("5xx", "automatic"): 1,
        ("5xx", "manual"): 1,
        ("5xx", "test"): 1,
        ("2xx", "replay"): 1,
        ("2xx", "manual"): 1,
    }


async def arrived(service: Service, before: Samples, tries: str) -> float:
    """Wait until one more has arrived and return the recorded seconds."""
    await until_says(
        service, lambda now: said(now, f"{WAY}_count", tries=tries) == said(before, f"{WAY}_count", tries=tries) + 1
    )
    return await value(service, f"{WAY}_sum", tries=tries) - said(before, f"{WAY}_sum", tries=tries)


async def test_the_way_is_measured_from_what_happened_to_its_arrival(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Also if the delivery waited in the table and was claimed."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    before = await read(service)
    await service.consume(code_redeemed(merchant, occurred_at=service.clock() - timedelta(seconds=100)))
    assert 100 <= await arrived(service, before, "first") < 110
    before = await read(service)
    await service.send("POST", f"/endpoints/{endpoint['id']}/pause", merchant.partner_key)
    await service.consume(code_redeemed(merchant, "LATER", occurred_at=service.clock()))
    service.clock.advance(hours=2)
    await service.send("POST", f"/endpoints/{endpoint['id']}/resume", merchant.partner_key)
    assert 7200 <= await arrived(service, before, "first") < 7210
    bounds = [float(dict(labels)["le"]) for name, labels in before if name == f"{WAY}_bucket"]
    assert (min(bounds), sorted(set(bounds))[-2]) == (0.005, 4 * 86_400)


async def test_what_a_receiver_has_held_up_does_not_blur_the_first_tries(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    before = await read(service)
    receiver.status = 500
    await service.consume(code_redeemed(merchant, occurred_at=service.clock()))
    await service.attempted(1)
    receiver.status = 204
    service.clock.advance(minutes=1)
    assert 60 <= await arrived(service, before, "later") < 70
    assert await value(service, f"{WAY}_count", tries="first") == said(before, f"{WAY}_count", tries="first")


async def test_a_clock_that_goes_backwards_makes_no_negative_time(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    before = await read(service)
    await service.consume(code_redeemed(merchant, occurred_at=service.clock() + timedelta(hours=1)))
    assert await arrived(service, before, "first") == 0


async def test_what_somebody_sends_by_hand_says_nothing_about_the_way(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    before = await read(service)
    receiver.status, receiver.headers = 500, {"webhook-delivery": "abort-message"}
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "dead")
    receiver.status, receiver.headers = 204, {}
    [delivery] = await service.query("SELECT id::text FROM webhooks.deliveries")
    await service.send("POST", f"/dead-letters/{delivery['id']}/replay", merchant.partner_key)
    await service.settled(1)
    await service.send("POST", f"/deliveries/{delivery['id']}/retry", merchant.partner_key)
    await service.send("POST", f"/endpoints/{endpoint['id']}/test", merchant.partner_key)
    # A counted one, so that everything counted before it is visible.
    before_last = await read(service)
    await service.consume(code_redeemed(merchant, "COUNTS"))
    await arrived(service, before_last, "first")
    after = await read(service)
    for tries, more in (("first", 1), ("later", 0)):
        assert said(after, f"{WAY}_count", tries=tries) - said(before, f"{WAY}_count", tries=tries) == more


async def endpoints_say(service: Service) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Count again, and return the endpoints by state, by breaker and by the reason of their pause."""
    await look_after_endpoints(maintenance_of(service))
    now = await read(service)
    return (
        by_label(now, "mintwire_webhook_endpoints", "state"),
        by_label(now, "mintwire_webhook_breakers", "breaker"),
        by_label(now, "mintwire_webhook_pauses", "reason"),
    )


async def test_an_open_breaker_is_shown_until_a_probe_closes_it(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    assert await endpoints_say(service) == ({}, {}, {})
    await failed_five_times(service, merchant, receiver)
    assert await endpoints_say(service) == ({"resting": 1}, {"open": 1}, {"breaker": 1})
    receiver.status = 204
    service.clock.advance(seconds=31)
    await service.settled(8)
    assert await endpoints_say(service) == ({"active": 1}, {"closed": 1}, {})


async def test_a_receiver_that_asks_for_rest_is_shown_until_that_is_over(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status, receiver.headers = 503, {"Retry-After": "60"}
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    assert await endpoints_say(service) == ({"resting": 1}, {"closed": 1}, {"retry_after": 1})
    service.clock.advance(seconds=61)
    assert await endpoints_say(service) == ({"active": 1}, {"closed": 1}, {})


async def test_pauses_and_disablings_are_shown_by_their_reason(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    made = [await service.endpoint(merchant.partner_key, receiver.url) for _ in range(4)]
    paths = [f"/endpoints/{each['id']}" for each in made]
    receiver.status = 410
    for path in paths[1:]:
        await service.send("POST", f"{path}/pause", merchant.partner_key)
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "dead")
    await service.send("POST", f"{paths[2]}/disable", merchant.partner_key)
    await service.send("POST", f"{paths[3]}/resume", merchant.partner_key)
    receiver.status, receiver.headers = 204, {"webhook-delivery": "disable"}
    await service.settled(1)
    assert await endpoints_say(service) == (
        {"paused": 1, "disabled": 3},
        {"closed": 4},
        {"owner": 1, "disabled_gone": 1, "disabled_by_owner": 1, "disabled_receiver_asked": 1},
    )
    receiver.headers = {}
    for path in (paths[0], paths[2], paths[3]):
        await service.send("POST", f"{path}/enable", merchant.partner_key)
    await service.send("POST", f"{paths[1]}/resume", merchant.partner_key)
    states, breakers, pauses = await endpoints_say(service)
    assert (states, pauses) == ({"active": 4}, {})
    assert breakers["half_open"] >= 1


async def test_listeners_and_archived_endpoints_are_not_counted(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    opened = await service.send("POST", "/listeners", merchant.partner_key, {"event_types": ["code.redeemed"]})
    assert opened.status == 201, opened.body
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    await service.send("DELETE", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    assert await endpoints_say(service) == ({}, {}, {})


def held(now: Samples) -> tuple[float, ...]:
    return tuple(said(now, name) for name in (IN_FLIGHT, HELD, UNWRITTEN, DUE))


async def test_what_is_under_way_what_waits_in_memory_and_what_lies_due_is_told_apart(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    assert held(await read(service)) == (0, 0, 0, 0)
    await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=1)
    release = receiver.hang()
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(5)))
    await until_says(service, lambda now: held(now) == (1, 1, 0, 3))
    release.set()
    await service.settled(5)
    await until_says(service, lambda now: held(now) == (0, 0, 0, 0))


async def test_who_is_paused_or_rests_has_nothing_due(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoints = [await service.endpoint(merchant.partner_key, receiver.url) for _ in range(2)]
    await service.send("POST", f"/endpoints/{endpoints[0]['id']}/pause", merchant.partner_key)
    receiver.status, receiver.headers = 503, {"Retry-After": "600"}
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    await service.consume(code_redeemed(merchant, "LATER"))
    assert (await service.queue.measure()).due == 0
    await service.send("POST", f"/endpoints/{endpoints[0]['id']}/resume", merchant.partner_key)
    receiver.status, receiver.headers = 204, {}
    await service.settled(2)


async def test_the_backlog_is_counted_no_further_than_is_worth_it(
    database: Database, clock: HeldClock, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.webhooks.usecases.delivery_queue.COUNTED_DUE", 7)
    async with running_service(database, clock, sends=False) as service:
        merchant = await make_merchant(service.admin, clock())
        for _ in range(3):
            await service.endpoint(merchant.partner_key, receiver.url, rate_limit_per_second=1)
        await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(5)))
        clock.advance(seconds=90)
        backlog = await service.queue.measure()
        assert (backlog.due, backlog.age) == (7, timedelta(seconds=90))


async def test_while_it_stops_the_metrics_tell_what_is_left(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=1)
    release = receiver.hang()
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(2)))
    await until_says(service, lambda now: held(now)[:2] == (1, 1))
    stopping = asyncio.create_task(service.dispatcher.stop())
    await until_says(service, lambda now: held(now)[:2] == (1, 0))
    release.set()
    await stopping
    assert held(await read(service))[:3] == (0, 0, 0)


async def test_results_that_cannot_be_written_are_seen(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    async with service.admin.transaction():
        await service.query("LOCK TABLE webhooks.attempts")
        await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(3)))
        await until_says(service, lambda now: held(now)[:3] == (0, 0, 3))
    await service.settled(3)
    await until_says(service, lambda now: held(now)[:3] == (0, 0, 0))


async def test_every_label_has_a_bounded_set_of_values(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """No id, no name, nothing that a receiver or a tenant chooses: each would be a new series."""

    def unknown(samples: Samples) -> list[Any]:
        return [
            (name, label, said)
            for name, labels in samples
            if name.startswith("mintwire_webhook")
            for label, said in labels
            if label != "le" and said not in LABELS.get(label, ())
        ]

    await service.endpoint(merchant.partner_key, receiver.url)
    for number, status in enumerate((204, 299, 499, 599, 799)):
        receiver.status = status
        await service.consume(code_redeemed(merchant, f"C{number}"))
        await service.attempted(number + 1)
    await look_after_endpoints(maintenance_of(service))
    assert unknown(await read(service)) == []
