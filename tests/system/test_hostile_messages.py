"""Messages made to end their consumer cost their sender a dead letter, and affect nobody else."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import aiormq
import pytest

from shared.broker.operator import dead
from shared.broker.topology import EXCHANGE_CHECKOUT, EXCHANGE_CODES, EXCHANGE_REDEMPTION, WORK_QUEUES
from tests import amqp
from tests.amqp import RawMessage
from tests.system.bystanders import bystanders
from tests.system.signs import Signs
from tests.system.stack import Stack

# By whom, on which exchange and under which routing key each queue is reached from outside its service.
WAYS = {
    "redemption.checkout": ("checkout", EXCHANGE_CHECKOUT, b"checkout.completed"),
    "codes.redemptions": ("redemption", EXCHANGE_REDEMPTION, b"code.redeemed"),
    "webhooks.events": ("codes", EXCHANGE_CODES, b"coupon.created"),
}
FORGED = amqp.text(b"0001-01-01T00:00:00+14:00")
HEADERS = (
    amqp.entries((b"x-mintwire-first-received-at", FORGED), (b"x-mintwire-died-at", FORGED)),
    amqp.entries(
        (b"n", b"T" + b"\xff" * 8), (b"d", b"D" + b"\xff" * 5), (b"v", b"V"), (b"b", b"x" + amqp.long(b"\xff"))
    ),
    amqp.entries((b"\xff" * 255, amqp.text(b"\xff" * 65_000))),
    amqp.entries(*((b"%04x" % number, b"t\x01") for number in range(9000))),
    amqp.entries((b"x-delivery-count", b"l" + b"\x7f" * 8), (b"x-death", amqp.array(amqp.table()))),
)
BODIES = (b"", b"\xff\xfe", b"{" * 1000, b'{"specversion":"1.0","time":"0001-01-01T00:00:00+14:00"}')
SOURCE = f"hostile-{uuid.uuid4().hex[:8]}".encode()
GIVEN_UP_SECONDS = 60


def hostile() -> list[RawMessage]:
    """Each body with each of the headers, under ids that are not UTF-8; and one that expires before anybody has it."""
    odd = {"type": b"\xff" * 255, "content_type": b"\0", "timestamp": 2**64 - 1, "priority": 255}
    found = [
        RawMessage(body + SOURCE, headers=headers, message_id=b"\xff" + SOURCE, **odd)  # type: ignore[arg-type]
        for body in BODIES
        for headers in HEADERS
    ]
    late = RawMessage(SOURCE, headers=HEADERS[0], expiration=b"0")
    return [*found, *found, late]


@pytest.fixture
async def signs(stack: Stack) -> AsyncIterator[Signs]:
    """What shows since, without the dead letters that it leaves."""
    yield Signs(stack)
    for queue in WORK_QUEUES:
        await dead.purge(stack.told["amqp_url"], queue, choice=lambda letter: SOURCE in letter.body)


async def publish(stack: Stack, queue: str) -> int:
    """Send them with the rights of a user that may publish to this queue; return how many."""
    user, exchange, routing_key = WAYS[queue]
    connection = await aiormq.connect(stack.plan.broker_url(user))
    try:
        channel = await connection.channel(publisher_confirms=False)
        messages = hostile()
        await amqp.publish(channel, messages, exchange, routing_key)
        # Answered behind what was sent, if the channel still lives.
        async with asyncio.timeout(30):
            await channel.basic_qos(prefetch_count=0)
    finally:
        await connection.close()
    return len(messages)


async def ours(stack: Stack, queue: str) -> list[dead.DeadMessage]:
    letters = await dead.list_dead(stack.told["amqp_url"], queue, limit=1000)
    return [letter for letter in letters if SOURCE in letter.body]


async def test_nobody_notices_messages_that_no_client_can_read(stack: Stack, signs: Signs) -> None:
    """The first of them alone ended every replica of redemption, and the commands that look for it."""
    pids = {name: stack.pid(name) for name in ("codes", "redemption", "webhooks")}
    async with bystanders(stack):
        sent = {queue: await publish(stack, queue) for queue in WORK_QUEUES}
        for queue, count in sent.items():
            async with asyncio.timeout(60):
                while len(await ours(stack, queue)) < count:  # noqa: ASYNC110 - in the broker
                    await asyncio.sleep(0.1)
    assert {name: stack.pid(name) for name in pids} == pids
    for queue in WORK_QUEUES:
        service = queue.partition(".")[0]
        await signs.in_doctor(f"{queue}.dead is empty")
        await signs.in_metric(service, "mintwire_messages_consumed_total", queue=queue, outcome="invalid_json")
        await signs.in_log(service, "message_rejected", queue=queue, reason="invalid_json")
        assert SOURCE.decode() in stack.mintwire("dead", "list", queue, "--json", seconds=60)
        found = [letter for letter in await ours(stack, queue) if letter.is_moved_by_broker]
        assert {letter.reason for letter in found} <= {"expired"}
        if found:
            await _given_up(signs, service, queue)


async def _given_up(signs: Signs, service: str, queue: str) -> None:
    """The service counts and logs what the broker moved; it looks every half minute."""
    async with asyncio.timeout(GIVEN_UP_SECONDS):
        while not await signs.metric(service, "mintwire_broker_dead_messages", queue=queue, reason="expired"):  # noqa: ASYNC110 - in the service
            await asyncio.sleep(1)
    await signs.in_log(service, "messages_given_up", queue=queue, reason="expired")
