"""Publishes `checkout.completed` for paid orders: each until the broker has confirmed it, also after a restart."""

import asyncio
import json
import logging

import aio_pika
from yarl import URL

from .orders import Order, Orders, now

_CONFIRM_SECONDS = 5.0
_RETRY_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Outbox:
    """Works through the paid orders that are not published; a failure delays them and loses none."""

    def __init__(self, orders: Orders, url: URL) -> None:
        self._orders = orders
        self._url = str(url)
        self._work = asyncio.Event()
        self._published = asyncio.Condition()

    async def publish_soon(self, order: Order, timeout_seconds: float = 2.0) -> None:
        """Have an order published, and wait for a moment: usually it is before the customer sees the receipt."""
        self._work.set()

        async def until_published() -> None:
            async with self._published:
                await self._published.wait_for(lambda: _is_published(self._orders, order.ref))

        try:
            await asyncio.wait_for(until_published(), timeout_seconds)
        except TimeoutError:
            _log.warning("order %s is paid, and waits for the broker", order.ref)

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            try:
                async with await aio_pika.connect(self._url, timeout=_CONFIRM_SECONDS) as connection:
                    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                    await self._publish_all(channel)
            except (aio_pika.exceptions.AMQPError, OSError, TimeoutError, RuntimeError) as error:
                _log.warning("the broker is away: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _publish_all(self, channel: aio_pika.abc.AbstractChannel) -> None:
        # Declaring an exchange needs rights that a checkout does not have.
        exchange = await channel.get_exchange("checkout", ensure=False)
        while True:
            while (order := self._orders.unpublished()) is not None:
                await self._publish(exchange, order)
            self._work.clear()
            await self._work.wait()

    async def _publish(self, exchange: aio_pika.abc.AbstractExchange, order: Order) -> None:
        event = json.loads(order.event or "{}")
        message = aio_pika.Message(
            json.dumps(event).encode(),
            message_id=event["id"],
            content_type="application/cloudevents+json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        # Returns once the broker has confirmed the message; a timeout says nothing, and the order stays unpublished.
        await exchange.publish(message, routing_key=event["type"], timeout=_CONFIRM_SECONDS)
        self._orders.note(order.ref, published_at=now())
        async with self._published:
            self._published.notify_all()


def _is_published(orders: Orders, ref: str) -> bool:
    order = orders.of_ref(ref)
    return order is not None and order.published_at is not None
