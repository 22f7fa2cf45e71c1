"""A broker out of memory or disk takes nothing: mints and redemptions go on, and webhooks come when it is over."""

import asyncio

import aiohttp
import pytest

from shared.broker.operator.depths import depths
from shared.broker.topology import WORK_QUEUES, dead_queue
from tests.databases import SERVICES
from tests.rabbitmq import Resource, alarm
from tests.system.bystanders import bystanders
from tests.system.signs import Signs
from tests.system.stack import Stack

ALARM_SECONDS = 3.0
# These publish with every mint and every redemption; the broker blocks only who publishes.
PUBLISHING = ("codes", "redemption")


async def readiness(stack: Stack) -> dict[str, tuple[int, str]]:
    """The status of each service's `/readyz`, and whether it says that it publishes."""
    found = {}
    async with aiohttp.ClientSession() as session:
        for service in SERVICES:
            async with session.get(f"{stack.url(service)}/readyz") as response:
                found[service] = (response.status, (await response.json())["details"]["publishing"])
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize("resource", ["memory", "disk"])
async def test_nobody_but_receivers_notices_a_broker_in_alarm(stack: Stack, resource: Resource) -> None:
    assert stack.plan.rabbitmq is not None
    signs, pids, reason = Signs(stack), {name: stack.pid(name) for name in SERVICES}, f"low on {resource}"
    async with bystanders(stack) as others:
        with others.broker_away():
            async with alarm(stack.plan.rabbitmq, resource):
                await asyncio.sleep(ALARM_SECONDS)
                for service in PUBLISHING:
                    await signs.in_metric(service, "mintwire_publisher_blocked", exchange=service)
                    await signs.in_log(service, "publisher_blocked", exchange=service, reason=reason)
                    await signs.in_doctor(f"{service} publishing", f"blocked: {reason}")
                # Brokers name the disk differently.
                await signs.in_doctor("broker alarms", resource)
                await signs.in_doctor("broker alarms", " on mintwire@localhost")
                found = await readiness(stack)
                assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(SERVICES, 200)
                assert {name: found[name][1] for name in PUBLISHING} == dict.fromkeys(PUBLISHING, f"blocked: {reason}")
    for service in PUBLISHING:
        ends = [line["event"] for line in signs.lines(service) if line.get("exchange") == service]
        assert [event for event in ends if event.startswith("publisher_")] == [
            "publisher_blocked",
            "publisher_unblocked",
        ]
    assert {name: stack.pid(name) for name in SERVICES} == pids, "a service died of it"
    dead = await depths(stack.told["amqp_url"], map(dead_queue, WORK_QUEUES))
    assert not any(depth.messages for depth in dead.values() if depth is not None)
    await signs.doctor_is_content()
