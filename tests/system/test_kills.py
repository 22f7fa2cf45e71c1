"""Any part may be killed while hundreds of events are under way: nothing is lost, nothing counts twice."""

import os
import signal
from collections import Counter

import pytest

from tests.system.stack import Partner, Receiver, Stack, completed, publish_all, until

EVENTS = 800
UNDER_WAY = 500
_END_LEASES = "UPDATE webhooks.delivery_queue SET visible_at = now() WHERE token IS NOT NULL RETURNING 1"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", ["codes", "redemption", "webhooks", "rabbitmq", "postgres"])
async def test_a_killed_part_loses_and_doubles_nothing(
    stack: Stack, partner: Partner, receiver: Receiver, victim: str
) -> None:
    codes = await partner.codes(EVENTS)
    orders = {f"order-of-{code}": code for code in codes}
    events = [completed(stack.told["program"]["id"], [code], order_ref) for order_ref, code in orders.items()]

    # The decider is held until all is published, so that as many as are wanted are under way at the kill.
    redemption = stack.pid("redemption")
    assert redemption is not None
    os.kill(redemption, signal.SIGSTOP)
    try:
        async with stack.checkout() as checkout:
            await publish_all(checkout, events)
    finally:
        os.kill(redemption, signal.SIGCONT)
    await until(lambda: len(receiver.verified) >= 1, "the first webhook", pause=0.001)
    killed = stack.pid(victim)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    if victim == "webhooks":
        # Half a minute passes: what was being sent is nobody's any more. The next process takes longer to start.
        await stack.rows(_END_LEASES)
    assert EVENTS - len(receiver.verified) >= UNDER_WAY, "too few were under way for the kill to mean anything"

    await until(lambda: stack.pid(victim) not in {None, killed}, f"{victim} is started again")
    wanted = set(codes)
    await until(
        lambda: set(receiver.codes) >= wanted, lambda: f"{len(set(receiver.codes))} of {EVENTS} webhooks", seconds=120
    )
    assert set(receiver.codes) == wanted
    assert receiver.refused == 0
    ids = {message_id: body["code"] for message_id, body, _ in receiver.verified}
    assert len(ids) == EVENTS, "one order was told under two ids"

    rows = await stack.rows("SELECT order_ref, code FROM redemption.redemptions WHERE code = ANY ($1)", codes)
    assert Counter((row["order_ref"], row["code"]) for row in rows) == Counter(orders.items())
    await stack.each_is_used_once(codes)
    await _goes_on(stack, partner, receiver)


async def _goes_on(stack: Stack, partner: Partner, receiver: Receiver) -> None:
    """A fresh order goes all the way."""
    [code] = await partner.codes(1)
    async with stack.checkout() as checkout:
        await publish_all(checkout, [completed(stack.told["program"]["id"], [code])])
    await until(lambda: code in receiver.codes, "the webhook of a fresh order")
