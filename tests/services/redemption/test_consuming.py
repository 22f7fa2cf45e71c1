"""The way of an event through the real broker: taken in, decided, announced; and what a crash or a poison row does."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiormq
import asyncpg
import pytest

from services.redemption.consumers import CheckoutConsumer
from services.redemption.usecases.take_in_checkouts import TakeInCheckouts
from shared.broker import topology
from shared.broker.consumer import BatchConsumer
from shared.broker.publisher import Publisher
from shared.broker.relay import OutboxRelay
from shared.clock import utc_now
from shared.database.outbox import OutboxTable
from shared.database.pool import Database as Pool
from shared.events.envelope import OutboxEvent
from tests.services.redemption.conftest import DIGESTS, Decider
from tests.services.redemption.merchant import Merchant, checkout

pytestmark = pytest.mark.timeout(90)


@asynccontextmanager
async def running(part: BatchConsumer | OutboxRelay) -> AsyncIterator[None]:
    task = asyncio.create_task(part.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def publish(urls: dict[str, str], bodies: Sequence[bytes]) -> None:
    events = [OutboxEvent(uuid.uuid4(), "checkout.completed", body) for body in bodies]
    async with Publisher(urls["checkout"], topology.EXCHANGE_CHECKOUT) as publisher:
        assert await publisher.publish_many(events) == {event.id for event in events}


async def take(urls: dict[str, str], queue: str, count: int) -> list[aiormq.abc.DeliveredMessage]:
    """Take this many messages off a queue, waiting for them."""
    connection = await aiormq.connect(urls["operator"])
    try:
        channel = await connection.channel()
        taken: list[aiormq.abc.DeliveredMessage] = []
        async with asyncio.timeout(30):
            while len(taken) < count:
                message = await channel.basic_get(queue, no_ack=True)
                if message.delivery_tag:
                    taken.append(message)
                else:
                    await asyncio.sleep(0.02)
        return taken
    finally:
        await connection.close()


async def test_an_event_goes_in_and_code_redeemed_comes_out(
    pool: Pool, merchant: Merchant, clean_broker: dict[str, str], admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    program = await merchant.program()
    await merchant.code(program, await merchant.coupon(program), "PLAIN")
    async with Publisher(clean_broker["redemption"], topology.EXCHANGE_REDEMPTION) as publisher:
        relay = OutboxRelay(publisher, OutboxTable(pool))
        handler = CheckoutConsumer(TakeInCheckouts(pool, utc_now, relay.hand_over, DIGESTS))
        consumer = BatchConsumer(clean_broker["redemption"], topology.QUEUE_REDEMPTION_CHECKOUT, handler, utc_now)
        async with running(relay), running(consumer):
            await publish(clean_broker, [checkout(program, "PLAIN", time=utc_now()), b"{}"])
            (message,) = await take(clean_broker, topology.QUEUE_CODES_REDEMPTIONS, 1)
            (dead,) = await take(clean_broker, f"{topology.QUEUE_REDEMPTION_CHECKOUT}.dead", 1)
            await consumer.stop()
            assert await relay.drain(30)
    assert message.routing_key == "code.redeemed"
    assert (dead.header.properties.headers or {})["x-mintwire-reason"] == "invalid_envelope"
    assert await admin.fetchval("SELECT count(*) FROM redemption.outbox") == 0


async def test_events_of_a_process_that_died_after_its_commit_are_swept_up(
    decider: Decider,
    pool: Pool,
    merchant: Merchant,
    clean_broker: dict[str, str],
    admin: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    program = await merchant.program()
    await merchant.code(program, await merchant.coupon(program), "PLAIN")
    body = checkout(program, "PLAIN")
    await decider.take(body)
    (event,) = decider.handed_over
    assert await admin.fetchval("SELECT count(*) FROM redemption.outbox") == 1
    assert await decider.take(body) == []
    await admin.execute("UPDATE redemption.outbox SET leased_until = now()")
    async with (
        Publisher(clean_broker["redemption"], topology.EXCHANGE_REDEMPTION) as publisher,
        running(OutboxRelay(publisher, OutboxTable(pool))),
    ):
        (message,) = await take(clean_broker, topology.QUEUE_CODES_REDEMPTIONS, 1)
    assert (message.body, message.header.properties.message_id) == (event.body, str(event.id))


async def test_one_poison_row_is_found_and_its_neighbours_are_redeemed(
    pool: Pool, merchant: Merchant, clean_broker: dict[str, str], admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    program = await merchant.program()
    coupon = await merchant.coupon(program)
    for n in range(9):
        await merchant.code(program, coupon, f"C{n}")
    # A row that the database will not take, for a reason that no check in front of it knows.
    await admin.execute("ALTER TABLE redemption.redemptions ADD CHECK (order_ref <> 'poison')")
    await publish(clean_broker, [checkout(program, f"C{n}", ref="poison" if n == 4 else str(n)) for n in range(9)])
    handler = CheckoutConsumer(TakeInCheckouts(pool, utc_now, lambda _: None, DIGESTS))
    consumer = BatchConsumer(clean_broker["redemption"], topology.QUEUE_REDEMPTION_CHECKOUT, handler, utc_now)
    async with running(consumer):
        (dead,) = await take(clean_broker, f"{topology.QUEUE_REDEMPTION_CHECKOUT}.dead", 1)
        async with asyncio.timeout(20):
            while await admin.fetchval("SELECT count(*) FROM redemption.redemptions") < 8:  # noqa: ASYNC110 - in the server
                await asyncio.sleep(0.02)
        await consumer.stop()
    assert b"poison" in dead.body
    assert (dead.header.properties.headers or {})["x-mintwire-reason"] == "handler_error"
    assert await admin.fetchval("SELECT sum(uses) FROM redemption.code_counters") == 8
