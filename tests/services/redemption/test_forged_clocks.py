"""Only we decide when a purchase was first received: otherwise expired codes would come back to life."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import asyncpg
import pytest

from services.redemption.consumers import CheckoutConsumer
from services.redemption.usecases.take_in_checkouts import TakeInCheckouts
from shared.broker.consumer import BatchConsumer
from shared.broker.operator import dead
from shared.broker.topology import EXCHANGE_CHECKOUT, QUEUE_REDEMPTION_CHECKOUT, dead_queue, replay_exchange
from shared.clock import utc_now
from shared.database.pool import Database as Pool
from tests import amqp
from tests.amqp import RawMessage
from tests.services.redemption.conftest import DIGESTS
from tests.services.redemption.merchant import Merchant, checkout
from tests.services.redemption.test_consuming import running
from tests.shared.broker.tools import Broker, client

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
async def broker(clean_broker: dict[str, str]) -> AsyncIterator[Broker]:
    async with client(clean_broker["operator"]) as made:
        yield made


@pytest.fixture
def purchased_at() -> datetime:
    """A day before the code expired, eleven days ago."""
    return utc_now().replace(microsecond=0) - timedelta(days=11)


@pytest.fixture
async def purchase(merchant: Merchant, purchased_at: datetime) -> bytes:
    """A purchase that would be good if it had arrived in time."""
    program = await merchant.program()
    before = purchased_at - timedelta(days=1)
    ends = purchased_at + timedelta(days=1)
    await merchant.code(program, await merchant.coupon(program), "SPRING", created_at=before, expires_at=ends)
    return checkout(program, "SPRING", time=purchased_at)


def first_received(at: datetime) -> tuple[bytes, bytes]:
    return b"x-mintwire-first-received-at", amqp.text(at.isoformat().encode())


def died(at: datetime) -> tuple[bytes, bytes]:
    """The record of a death as the broker would write it, had the purchase expired in the queue then."""
    members = (
        (b"count", b"l" + bytes(8)),
        (b"reason", amqp.text(b"expired")),
        (b"queue", amqp.text(QUEUE_REDEMPTION_CHECKOUT.encode())),
        (b"time", amqp.time(int(at.timestamp()))),
        (b"exchange", amqp.text(b"checkout")),
        (b"routing-keys", amqp.array(amqp.text(b"checkout.completed"))),
    )
    return b"x-death", amqp.array(amqp.table(*members))


async def redeemed(pool: Pool, urls: dict[str, str], admin: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Let the consumer take what is there, and return how many redemptions that made."""
    handler = CheckoutConsumer(TakeInCheckouts(pool, utc_now, lambda _: None, DIGESTS))
    consumer = BatchConsumer(urls["redemption"], QUEUE_REDEMPTION_CHECKOUT, handler, utc_now)
    async with running(consumer), asyncio.timeout(30):
        while not await admin.fetchval("SELECT count(*) FROM redemption.inbox"):  # noqa: ASYNC110 - in the server
            await asyncio.sleep(0.02)
        await consumer.stop()
    found: int = await admin.fetchval("SELECT count(*) FROM redemption.redemptions")
    return found


async def publish(url: str, message: RawMessage, exchange: str) -> None:
    async with client(url) as raw:
        await raw.put_raw(message, "checkout.completed", exchange=exchange)
        # Answered behind the publish.
        await raw.channel.basic_qos(prefetch_count=0)


async def test_a_replay_by_our_own_way_keeps_its_first_receipt(
    pool: Pool,
    clean_broker: dict[str, str],
    admin: "asyncpg.Connection[asyncpg.Record]",
    purchase: bytes,
    purchased_at: datetime,
) -> None:
    """An outage must not void a purchase that was made before the expiry date."""
    message = RawMessage(purchase, headers=amqp.entries(first_received(purchased_at)))
    await publish(clean_broker["operator"], message, replay_exchange(QUEUE_REDEMPTION_CHECKOUT))
    assert await redeemed(pool, clean_broker, admin) == 1


async def test_a_checkout_cannot_say_when_it_was_received(
    pool: Pool,
    clean_broker: dict[str, str],
    admin: "asyncpg.Connection[asyncpg.Record]",
    purchase: bytes,
    purchased_at: datetime,
) -> None:
    message = RawMessage(purchase, headers=amqp.entries(first_received(purchased_at)))
    await publish(clean_broker["checkout"], message, EXCHANGE_CHECKOUT)
    assert await redeemed(pool, clean_broker, admin) == 0


@pytest.mark.parametrize("forges", ["header", "death", "both", "twice"])
async def test_a_detour_through_the_dead_queue_launders_no_clock(
    forges: str,
    pool: Pool,
    broker: Broker,
    clean_broker: dict[str, str],
    admin: "asyncpg.Connection[asyncpg.Record]",
    purchase: bytes,
    purchased_at: datetime,
) -> None:
    """The sender has the broker move its message, raw, and an operator replays what lies there."""
    forged = {
        "header": [first_received(purchased_at)],
        "death": [died(purchased_at)],
        "both": [first_received(purchased_at), died(purchased_at)],
        "twice": [(b"x-death", amqp.text(b"none")), died(purchased_at)],
    }[forges]
    message = RawMessage(purchase, headers=amqp.entries(*forged), expiration=b"0", message_id=uuid.uuid4().hex.encode())
    await publish(clean_broker["checkout"], message, EXCHANGE_CHECKOUT)
    await broker.holds(dead_queue(QUEUE_REDEMPTION_CHECKOUT), 1)
    assert await dead.replay(clean_broker["operator"], QUEUE_REDEMPTION_CHECKOUT) == 1
    assert await redeemed(pool, clean_broker, admin) == 0
