"""The setup to measure webhooks: the running service, a program, partners with an endpoint each, their receivers."""

import asyncio
import contextlib
import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import aio_pika
import asyncpg
import orjson

from bench.environment import BENCH_PROGRAM, OPERATOR_TOKEN, Environment, Program, call
from shared.events.redemption import CodeRedeemedV1
from shared.ids import new_id

PENDING = "SELECT count(*) FROM webhooks.delivery_queue"
# Counts one lot by the primary key: counting all rows fifty times a second would itself load the server.
ATTEMPTS = "SELECT count(*) FROM webhooks.attempts WHERE delivery_id > $1"
_ROUTING_KEY = CodeRedeemedV1.type


class Field:
    """The running service with a program, and a partner with one endpoint for each port."""

    def __init__(self, env: Environment, service: Program, receiver: Program) -> None:
        self.env, self.service, self.receiver = env, service, receiver
        self.program_id = ""
        self.partners: list[uuid.UUID] = []
        self.endpoints: list[str] = []
        self.key = ""

    def prepare(self, count: int) -> None:
        """Create the program and its partners; the codes service runs only during that."""
        with self.env.service("codes"):
            base = self.env.urls["codes"]
            self.program_id = call("POST", f"{base}/v1/programs", OPERATOR_TOKEN, BENCH_PROGRAM)["data"]["id"]
            self.key = call("POST", f"{base}/v1/programs/{self.program_id}/keys", OPERATOR_TOKEN, {})["data"]["key"]
            for number in range(count):
                wanted = {"name": f"Partner {number}", "prefix": f"P{number}", "status": "active"}
                partner = call("POST", f"{base}/v1/partners", self.key, wanted)["data"]["id"]
                call("POST", f"{base}/v1/partners/{partner}/keys", self.key, {})
                self.partners.append(uuid.UUID(partner))

    def subscribe(self, number: int, port: int, **members: Any) -> None:
        """Create an endpoint for a partner."""
        wanted = {
            "url": f"http://127.0.0.1:{port}/hook",
            "event_types": [_ROUTING_KEY],
            "partner_id": str(self.partners[number]),
            **members,
        }
        made = call("POST", f"{self.env.urls['webhooks']}/v1/webhooks/endpoints", self.key, wanted)
        self.endpoints.append(made["data"]["id"])

    def unsubscribe(self) -> None:
        """Archive all endpoints, which cancels their pending deliveries."""
        for endpoint in self.endpoints:
            call("DELETE", f"{self.env.urls['webhooks']}/v1/webhooks/endpoints/{endpoint}", self.key)
        self.endpoints.clear()

    def event(self, number: int) -> aio_pika.Message:
        """Return a `code.redeemed` event of a partner, with the current time in it."""
        now = datetime.now(UTC)
        data = {
            "redemption_id": str(new_id()),
            "program_id": self.program_id,
            "partner_id": str(self.partners[number]),
            "code": f"BENCH-{new_id().hex}",
            "code_id": str(new_id()),
            "coupon_id": str(new_id()),
            "order_ref": "order-1",
            "attributes": {"card_id": repr(time.monotonic()), "recipient_name": "Sarah", "occasion": "mother"},
            "attribute_names": ["card_id", "recipient_name", "occasion"],
            "occurred_at": now.isoformat(),
            "codes_remaining": 1,
        }
        envelope = {
            "specversion": "1.0",
            "id": str(new_id()),
            "source": "/bench",
            "type": _ROUTING_KEY,
            "time": now.isoformat(),
            "datacontenttype": "application/json",
            "dataschema": CodeRedeemedV1.schema_urn(),
            "data": data,
        }
        return aio_pika.Message(orjson.dumps(envelope), delivery_mode=2, content_type="application/cloudevents+json")


@contextlib.contextmanager
def field(env: Environment, partners: int, ports: Sequence[int]) -> Iterator[Field]:
    """Run the service and a receiver that listens at all the ports."""
    with (
        env.service("webhooks") as service,
        env.bare("bench.receiver", *(str(port) for port in ports)) as receiver,
    ):
        made = Field(env, service, receiver)
        made.prepare(partners)
        yield made


class Publisher:
    """Publishes events with confirms."""

    def __init__(self, exchange: Any, made: Field) -> None:
        self.exchange, self.field = exchange, made

    async def one(self, number: int) -> None:
        """Publish an event of a partner."""
        await self.exchange.publish(self.field.event(number), _ROUTING_KEY)

    async def many(self, numbers: Sequence[int]) -> None:
        """Publish all, two hundred at a time."""
        for start in range(0, len(numbers), 200):
            await asyncio.gather(*(self.one(number) for number in numbers[start : start + 200]))

    async def at_rate(self, numbers: Sequence[int], per_second: int) -> None:
        """Publish each event on time, whether or not earlier ones have arrived."""
        started, tasks = time.monotonic(), []
        for place, number in enumerate(numbers):
            delay = started + place / per_second - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.append(asyncio.create_task(self.one(number)))
        await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def publishing(made: Field) -> Any:
    """Connect as the publisher."""
    connection = await aio_pika.connect(made.env.amqp_url)
    async with connection:
        channel = await connection.channel()
        yield Publisher(await channel.get_exchange("redemption", ensure=False), made)


async def counted(made: Field, statement: str, wanted: int, *arguments: object) -> None:
    """Wait until a count reaches a value."""
    connection = await asyncpg.connect(made.env.database_url)
    until = time.monotonic() + 90
    while await connection.fetchval(statement, *arguments) != wanted:
        if time.monotonic() > until:
            raise SystemExit(f"{statement}: not {wanted}")
        await asyncio.sleep(0.02)
    await connection.close()


async def wait_in_table(made: Field, numbers: Sequence[int]) -> None:
    """Let events of these partners wait for their paused endpoints, then resume all of them at once."""
    connection = await asyncpg.connect(made.env.database_url)
    await connection.execute("UPDATE webhooks.endpoints SET status = 'paused', version = version + 1")
    async with publishing(made) as publisher:
        await publisher.many(numbers)
    await counted(made, PENDING, len(numbers))
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("UPDATE webhooks.endpoints SET status = 'active', version = version + 1")
    await connection.close()


async def arrived(made: Field, count: int) -> dict[str, Any]:
    """Wait until the receiver has this many webhooks; return its report, and reset it."""
    until = time.monotonic() + 60
    report = made.receiver.report()
    while report["count"] < count:
        if time.monotonic() > until:
            raise SystemExit(f"{report['count']} of {count} webhooks arrived.")
        await asyncio.sleep(0.2)
        report = made.receiver.report()
    made.receiver.forget()
    return report


def summary(rows: list[dict[str, Any]], *measures: str) -> dict[str, Any]:
    summary: dict[str, Any] = {"rounds": rows}
    for measure in measures:
        summary[measure] = {side: statistics.median(row[side][measure] for row in rows) for side in ("bare", "ours")}
        summary[measure]["ratio"] = statistics.median(row["ours"][measure] / row["bare"][measure] for row in rows)
    return summary
