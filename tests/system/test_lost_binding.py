"""A binding that somebody takes away comes back by itself, and the webhooks that were missed come once."""

import asyncio
import json
import time

import aiormq
import pytest

from mintwire.cli.checks.management import Management
from shared.broker.consumer import BIND_INTERVAL_SECONDS
from shared.clock import utc_now
from shared.times import format_milliseconds
from tests.system.bystanders import bystanders
from tests.system.signs import Signs
from tests.system.stack import Stack

QUEUE, EXCHANGE, KEY = "webhooks.events", "redemption", "#"
MISSING = f"missing: {QUEUE} to {EXCHANGE} by {KEY}"
# On a busy machine.
GRACE_SECONDS = 15.0
# Shorter than the binding stays away at most, so that there is time for another try.
LOOK_SECONDS = 20.0


async def unbind(stack: Stack) -> None:
    connection = await aiormq.connect(stack.told["amqp_url"])
    try:
        await (await connection.channel()).queue_unbind(QUEUE, EXCHANGE, KEY)
    finally:
        await connection.close()


async def is_bound(stack: Stack) -> bool:
    found = await Management.of(stack.told["management_url"], stack.told["amqp_url"]).list("bindings")
    return any((each["source"], each["destination"], each["routing_key"]) == (EXCHANGE, QUEUE, KEY) for each in found)


async def seen_lost(stack: Stack, signs: Signs) -> float:
    """Take the binding away and return when, once the doctor has seen it; it may have come back before that."""
    for _ in range(5):
        await unbind(stack)
        began = time.monotonic()
        try:
            await signs.in_doctor("broker bindings", MISSING, seconds=LOOK_SECONDS)
        except AssertionError:
            continue
        return began
    raise AssertionError("the doctor never saw it")


@pytest.mark.timeout(300)
async def test_a_lost_binding_costs_nobody_a_webhook(stack: Stack) -> None:
    """These events have another queue, so they are not even in `unrouted`; and AMQP shows no service what it lost."""
    signs, since = Signs(stack), format_milliseconds(utc_now())
    pids = {name: stack.pid(name) for name in ("codes", "redemption", "webhooks")}
    async with bystanders(stack) as others:
        # Only what the binding carried waits: webhooks of redemptions.
        with others.broker_away():
            began = await seen_lost(stack, signs)
            while not await is_bound(stack):
                assert time.monotonic() - began < BIND_INTERVAL_SECONDS + GRACE_SECONDS, "it did not come back"
                await asyncio.sleep(0.5)
            chosen = ("--since", since, "--type", "code.redeemed", "--to", QUEUE)
            told = await asyncio.to_thread(stack.mintwire, "events", "republish", *chosen, "--json", seconds=120)
            assert json.loads(told)["published"] >= 1
    assert {name: stack.pid(name) for name in pids} == pids
    await signs.doctor_is_content()
