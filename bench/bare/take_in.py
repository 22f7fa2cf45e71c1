"""The bare redemption consumer with the product's work: each event once, decided in one transaction, then published.

Events are read strictly and recorded in an inbox with the digest of their bytes; `bench.bare.shop` decides. An event
that cannot be read is rejected. It has no: dead letters with reasons, bisection of failing batches, sweeping of the
outbox, cancellations and refunds.

usage: python -m bench.bare.take_in DATABASE_URL AMQP_URL
"""

import asyncio
import hashlib
import signal
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
import asyncpg
import uvloop

from bench.bare import shop_sql as sql
from bench.bare.chain import CHECKOUT, EXCHANGE, consume
from bench.bare.checkout import Refused, decoded, order_of
from bench.bare.outbox import Outbox
from bench.bare.shop import Ask, decide
from shared.broker.publisher import Publisher
from shared.events.envelope import OutboxEvent

LATEST = timedelta(hours=24)
_MEMBERS = {"program_id", "order_ref", "codes", "customer", "order", "reservation_id", "attributes", "mode"}


def read(body: bytes, now: datetime) -> tuple[str, str, bytes, Ask]:
    """Return the identity of a purchase's event, the digest of its bytes, and the purchase; raises Refused."""
    event = decoded(body)
    try:
        if event["specversion"] != "1.0" or event["type"] != "checkout.completed":
            raise Refused(422, "unsupported")
        source, id_, data = event["source"], event["id"], event["data"]
        claimed_at = datetime.fromisoformat(event["time"]).astimezone(UTC)
        program_id = uuid.UUID(data["program_id"])
    except (KeyError, TypeError, ValueError):
        raise Refused(422, "invalid_envelope") from None
    if not all(isinstance(each, str) and 1 <= len(each) <= 255 for each in (source, id_)):
        raise Refused(422, "invalid_envelope")
    order = order_of({name: value for name, value in data.items() if name in _MEMBERS - {"program_id", "mode"}})
    order["attributes"] = _kept(order["attributes"])
    at = min(max(claimed_at, now - LATEST), now)
    ask = Ask("redeem", id_, program_id, order, at, source=source, claimed_at=claimed_at)
    return source, id_, hashlib.sha256(body).digest(), ask


def _kept(attributes: Any) -> dict[str, Any]:
    """Keep up to fifty short attributes."""
    if not isinstance(attributes, dict):
        return {}
    short = ((n, v) for n, v in attributes.items() if len(n) <= 100 and not isinstance(v, (dict, list)))
    return dict([(name, value) for name, value in short if len(str(value)) <= 500][:50])


class Consumer:
    """Takes what has arrived, decides it, and hands the events over once they are committed."""

    def __init__(self, pool: Any, publisher: Publisher) -> None:
        self.pool, self.outbox = pool, Outbox(pool, publisher)

    async def work(self, connection: Any) -> None:
        batches = await consume(connection, CHECKOUT)
        async with self.pool.acquire() as database:
            while True:
                batch = await batches.take()
                now, read_ones = datetime.now(UTC), []
                for message in batch:
                    try:
                        read_ones.append(read(message.body, now))
                    except Refused:
                        await message.reject(requeue=False)
                async with database.transaction():
                    events = await self._take_in(database, read_ones)
                self.outbox.add(events)
                await batch[-1].ack(multiple=True)

    async def _take_in(self, database: Any, read_ones: list[tuple[str, str, bytes, Ask]]) -> list[OutboxEvent]:
        first = {(ask.program_id, source, id_): (digest, ask) for source, id_, digest, ask in reversed(read_ones)}
        columns = [[key[place] for key in first] for place in range(3)]
        rows = await database.fetch(sql.RECEIVE, *columns, [digest for digest, _ in first.values()])
        fresh = {(row["program_id"], row["source"], row["event_id"]) for row in rows}
        asks = [ask for key, (_, ask) in reversed(first.items()) if key in fresh]
        _, events = await decide(database, asks) if asks else ([], [])
        return list(events)


async def _no_reset(_: Any) -> None:
    return None


async def main(database_url: str, amqp_url: str) -> None:
    """Run until SIGTERM."""
    settings = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
    connection = await aio_pika.connect(amqp_url, heartbeat=60)
    async with (
        Publisher(amqp_url, EXCHANGE) as publisher,
        asyncpg.create_pool(database_url, min_size=2, max_size=4, reset=_no_reset, server_settings=settings) as pool,
    ):
        consumer, stop = Consumer(pool, publisher), asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        workers = [
            asyncio.create_task(w)
            for w in (consumer.work(connection), consumer.outbox.publish(), consumer.outbox.clear())
        ]
        for worker in workers:
            worker.add_done_callback(lambda _: stop.set())
        print("ready", flush=True)
        await stop.wait()
        for worker in workers:
            if worker.done():
                worker.result()
            worker.cancel()
        await connection.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
