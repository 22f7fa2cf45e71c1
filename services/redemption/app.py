"""The composition root: opens what the service needs, wires it, and runs its parts until told to stop."""

import asyncio
from contextlib import AbstractAsyncContextManager

from services.redemption.api import ROUTES
from services.redemption.config import RedemptionSettings
from services.redemption.consumers import CheckoutConsumer
from services.redemption.usecases.redeem_orders import RedeemOrders
from shared.broker import topology
from shared.broker.consumer import BatchConsumer
from shared.broker.publisher import Publisher
from shared.broker.relay import OutboxRelay
from shared.clock import utc_now
from shared.database import pool
from shared.database.credentials import CredentialReader
from shared.database.outbox import OutboxTable
from shared.database.pool import Database
from shared.process import serve_http, supervise
from shared.readiness import Parts
from shared.web.application import build_application

SERVICE = "redemption"
DRAIN_SECONDS = 5.0


async def run(settings: RedemptionSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then take nothing more, finish what is in hand, and close in reverse order."""
    amqp_url = settings.amqp_url.get_secret_value()
    async with (
        open_database(settings.database_url.get_secret_value(), settings.database_pool_size) as database,
        Publisher(amqp_url, topology.EXCHANGE_REDEMPTION) as publisher,
    ):
        relay = OutboxRelay(publisher, OutboxTable(database))
        redeem_orders = RedeemOrders(database, utc_now, relay.hand_over)
        consumer = BatchConsumer(
            amqp_url,
            topology.QUEUE_REDEMPTION_CHECKOUT,
            CheckoutConsumer(redeem_orders),
            utc_now,
        )
        ready = Parts(database, publisher, consumer)
        app = build_application(
            SERVICE,
            ROUTES,
            authenticate=CredentialReader(database, utc_now).find,
            ready=ready,
            title="Mintwire redemption",
            version="1",
        )
        async with serve_http(app, settings.host, settings.port) as server:

            async def finish() -> None:
                await consumer.stop()
                await server.close()
                await relay.drain(DRAIN_SECONDS)

            await supervise({"consumer": consumer.run(), "relay": relay.run()}, stop, finish)


def open_database(url: str, size: int) -> AbstractAsyncContextManager[Database]:
    """Open the pool with the settings that the service's statements are written for."""
    return pool.connect(url, SERVICE, size, generic_plans=True)
