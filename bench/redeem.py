"""The redemption service alone, from `checkout.completed` to `code.redeemed`, beside a bare micro-batch consumer.

The shape `same work` is compared with a bare consumer that makes the product's promises, the others with a lean one.
A backlog is in the queue before the consumer starts; at a fixed rate each event is published on time. Both
sides publish to the same number and kind of queues, and counts must match, or a figure means nothing.
"""

import asyncio
import contextlib
import itertools
import json
import re
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
import aiohttp
import asyncpg
import uvloop

from bench.bare import chain as bare_chain
from bench.bare import redeem as bare
from bench.bare import shop_sql
from bench.environment import OPERATOR_TOKEN, Environment, Program, call
from shared.broker.publisher import Publisher
from shared.broker.wire import Outcome, Outgoing

BACKLOG = 100_000
RATE = 200
VALIDATIONS_RATE = 100
SECONDS_AT_RATE = 8
REDEEMED = "bench.redeemed"
_STAMP = re.compile(rb'"card_id": ?"([0-9.]+)"')
_DEADLINE_SECONDS = 300
_LIFETIME = timedelta(hours=48)
_WINDOW = 500
_INSERT_CODES = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, code, canonical, is_auto_generated, expires_at,
                                   redemption_limit, created_at, updated_at)
SELECT gen_random_uuid(), $1, k.id, c, c, true, $3, 1, now(), now()
FROM unnest($2::text[]) AS c, codes.coupons k WHERE k.program_id = $1 AND k.is_partner_coupon
"""
_SHOP_PROGRAM = uuid.UUID("0190a000-0000-7000-8000-000000000001")
_SHOP_KEY = "bare-key"
_FILL_SHOP = """
WITH program AS (
    INSERT INTO bare.shop_programs VALUES ($1, 10, 10000, true, '{card_id,recipient_name,occasion}')
), key AS (
    INSERT INTO bare.shop_keys (key_hash, id, program_id, scopes)
    SELECT sha256($2), gen_random_uuid(), $1, '{manage,checkout,webhooks}'
)
INSERT INTO bare.shop_coupons (id, uuid_code, name, is_active, percent, combination, release_policy)
VALUES ($1, 'partner', 'Partner coupon', true, 10000, 'other_coupons', 'until_expiry')
"""
_INSERT_SHOP_CODES = """
INSERT INTO bare.shop_codes (id, program_id, coupon_id, code, canonical, is_active, expires_at, use_limit, created_at)
SELECT gen_random_uuid(), $1, $1, c, c, true, $3, 1, now() FROM unnest($2::text[]) AS c
"""
_COUNT = {
    "bare": "SELECT count(*) FROM bare.redemptions",
    "shop": "SELECT count(*) FROM bare.shop_redemptions",
    "ours": "SELECT count(*) FROM redemption.redemptions",
}


@dataclass
class Side:
    """One of the two consumers, and how its codes are created and its events written."""

    name: str
    env: Environment
    exchange: str
    routing_key: str
    redeemed_exchange: str
    program_id: uuid.UUID | None = None
    key: str = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[Program]:
        """Run the consumer for as long as the block lasts."""
        if self.name != "ours":
            module = {"bare": "bench.bare.redeem", "shop": "bench.bare.take_in"}[self.name]
            with self.env.bare(module, self.env.database_url, self.env.amqp_url) as program:
                yield program
        else:
            with self.env.service("redemption") as program:
                yield program

    async def make_codes(self, count: int) -> list[str]:
        """Insert redeemable codes directly into the table: minting is measured elsewhere."""
        codes = [f"B{uuid.uuid4().hex[:16].upper()}" for _ in range(count)]
        expires_at = datetime.now(UTC) + _LIFETIME
        connection = await asyncpg.connect(self.env.database_url)
        if self.name == "bare":
            records = [(1, code, expires_at) for code in codes]
            columns = ["partner_id", "code", "expires_at"]
            await connection.copy_records_to_table("promo", schema_name="bare", columns=columns, records=records)
        else:
            statement = _INSERT_SHOP_CODES if self.name == "shop" else _INSERT_CODES
            await connection.execute(statement, self.program_id, codes, expires_at)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()
        return codes

    def event(self, code: str) -> bytes:
        """Return the checkout event for a code, with the current time in it."""
        attributes = {"card_id": repr(time.monotonic()), "recipient_name": "Sarah", "occasion": "mother"}
        if self.name == "bare":
            return json.dumps({"event_id": str(uuid.uuid4()), "code": code, **attributes}).encode()
        data = {"program_id": str(self.program_id), "order_ref": f"order-{code}", "codes": [code]}
        envelope = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/bench", "type": "checkout.completed"}
        time_ = datetime.now(UTC).isoformat()
        return json.dumps({**envelope, "time": time_, "data": {**data, "attributes": attributes}}).encode()

    def outgoing(self, code: str) -> Outgoing:
        """Return the message that carries the event for a code."""
        return Outgoing(self.routing_key, self.event(code), uuid.uuid4().hex)


def bare_side(env: Environment) -> Side:
    """Create new bare tables and queues."""

    async def prepare() -> None:
        connection = await asyncpg.connect(env.database_url)
        await connection.execute(bare.SCHEMA_WITH_RELAY)
        await connection.close()
        await bare_chain.declare(env.amqp_url)

    asyncio.run(prepare())
    return Side("bare", env, "", bare_chain.CHECKOUT, bare_chain.EXCHANGE)


def shop_side(env: Environment) -> Side:
    """Create new tables and queues of the bare program that does the product's work."""

    async def prepare() -> None:
        connection = await asyncpg.connect(env.database_url)
        await connection.execute(shop_sql.SCHEMA)
        await connection.execute(_FILL_SHOP, _SHOP_PROGRAM, f"Bearer {_SHOP_KEY}".encode())
        await connection.close()
        await bare_chain.declare(env.amqp_url)

    asyncio.run(prepare())
    return Side("shop", env, "", bare_chain.CHECKOUT, bare_chain.EXCHANGE, _SHOP_PROGRAM, _SHOP_KEY)


def our_side(env: Environment, *, coupon_limit: int | None = None) -> Side:
    """Create a new program; with a limit, every use of its codes counts in one row."""
    with env.service("codes"):
        base = f"{env.urls['codes']}/v1/programs"
        program = call("POST", base, OPERATOR_TOKEN, {"name": "Bench", "link_url": "https://shop.example"})["data"][
            "id"
        ]
        key = call("POST", f"{base}/{program}/keys", OPERATOR_TOKEN, {})["data"]["key"]

    async def limit() -> None:
        connection = await asyncpg.connect(env.database_url)
        sql = "UPDATE codes.coupons SET redemption_limit = $2 WHERE program_id = $1"
        await connection.execute(sql, uuid.UUID(program), coupon_limit)
        await connection.close()

    asyncio.run(limit())
    return Side("ours", env, "checkout", "checkout.completed", "redemption", uuid.UUID(program), key)


async def publish(side: Side, codes: Sequence[str]) -> None:
    """Publish all, a window at a time, and require every confirm."""
    async with Publisher(side.env.amqp_url, side.exchange) as publisher:
        await publisher.wait_ready(10)
        for start in range(0, len(codes), _WINDOW):
            outcomes = await publisher.send(side.outgoing(code) for code in codes[start : start + _WINDOW])
            if set(outcomes.values()) != {Outcome.CONFIRMED}:
                raise SystemExit(f"Not every checkout event was confirmed: {set(outcomes.values())}")


@contextlib.asynccontextmanager
async def redeemed_queue(side: Side) -> AsyncIterator[Any]:
    """Declare an empty queue for what the side publishes; delete it at the end."""
    connection = await aio_pika.connect(side.env.amqp_url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(1000)
        queue = await channel.declare_queue(REDEEMED, durable=True, arguments={"x-queue-type": "quorum"})
        await queue.purge()
        await queue.bind(side.redeemed_exchange, "code.redeemed")
        try:
            yield queue
        finally:
            await queue.delete(if_unused=False, if_empty=False)
            for name in ("codes.redemptions", "webhooks.events"):
                await (await channel.get_queue(name)).purge()


async def drain(side: Side, backlog: int) -> dict[str, Any]:
    """Process a backlog, and return how many `code.redeemed` per second were published from the first to the last."""
    codes = await side.make_codes(backlog)
    before = await _count(side)
    await publish(side, codes)
    async with redeemed_queue(side) as queue:
        marks: list[tuple[float, int]] = []
        with side.running():
            until = time.monotonic() + _DEADLINE_SECONDS
            while not marks or marks[-1][1] < backlog:
                if time.monotonic() > until:
                    raise SystemExit(f"{side.name}: {marks[-1:]} of {backlog} arrived.")
                await asyncio.sleep(0.05)
                count = (await queue.declare()).message_count
                if count and (not marks or count > marks[-1][1]):
                    marks.append((time.monotonic(), count))
        if marks[-1][1] != backlog or await _count(side) - before != backlog:
            raise SystemExit(f"{side.name}: {marks[-1][1]} events for {backlog} checkouts.")
    (first, early), (last, _) = marks[0], marks[-1]
    return {"per_s": (backlog - early) / (last - first)}


async def at_rate(side: Side, rate: int) -> dict[str, Any]:
    """Publish at a fixed rate; latencies are from a checkout's publish to its `code.redeemed` received."""
    async with redeemed_queue(side) as queue:
        with side.running():
            return await _open_loop(side, queue, rate)


async def validate_beside(side: Side, rate: int) -> dict[str, Any]:
    """Send validations at a fixed rate, while checkouts arrive at theirs."""
    latencies: list[float] = []
    wanted = await side.make_codes(VALIDATIONS_RATE * SECONDS_AT_RATE)
    async with redeemed_queue(side) as queue:
        with side.running():
            beside = asyncio.create_task(_open_loop(side, queue, rate))
            await asyncio.sleep(1)
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {side.key}"}) as session:

                async def validate(code: str) -> None:
                    order = {"currency": "USD", "subtotal": 5000}
                    started = time.perf_counter()
                    url = f"{side.env.urls['redemption']}/v1/validations"
                    async with session.post(url, json={"codes": [code], "order": order}) as answer:
                        body = await answer.json()
                    latencies.append(time.perf_counter() - started)
                    if answer.status != 200 or not body["data"]["valid"]:
                        raise SystemExit(f"A validation was answered {answer.status} {body}")

                await _paced(wanted, VALIDATIONS_RATE, validate)
            await beside
    return {"p50_ms": _percentile(latencies, 50), "p99_ms": _percentile(latencies, 99)}


async def _open_loop(side: Side, queue: Any, rate: int) -> dict[str, Any]:
    warm_up = await side.make_codes(rate)
    codes = await side.make_codes(rate * SECONDS_AT_RATE)
    latencies: list[float] = []
    arrived = asyncio.Event()

    async def note(message: Any) -> None:
        stamp = _STAMP.search(message.body)
        assert stamp is not None
        latencies.append(time.monotonic() - float(stamp[1]))
        await message.ack()
        arrived.set()

    async def arrivals(count: int) -> None:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            while len(latencies) < count:
                arrived.clear()
                await arrived.wait()

    tag = await queue.consume(note)
    async with Publisher(side.env.amqp_url, side.exchange) as publisher:
        await publisher.wait_ready(10)

        async def send(code: str) -> None:
            await publisher.send([side.outgoing(code)])

        await _paced(warm_up, rate, send)
        await arrivals(len(warm_up))
        latencies.clear()
        await _paced(codes, rate, send)
        await arrivals(len(codes))
    await queue.cancel(tag)
    return {"p50_ms": _percentile(latencies, 50), "p99_ms": _percentile(latencies, 99)}


async def _paced(codes: Sequence[str], rate: int, work: Callable[[str], Any]) -> None:
    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number, code in enumerate(codes):
            delay = started + number / rate - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.create_task(work(code))


async def _count(side: Side) -> int:
    connection = await asyncpg.connect(side.env.database_url)
    count: int = await connection.fetchval(_COUNT[side.name])
    await connection.close()
    return count


def _percentile(latencies: Sequence[float], percent: int) -> float:
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000


def run(env: Environment, rounds: int, backlog: int, shapes: Sequence[str], earlier: dict[str, Any]) -> dict[str, Any]:
    """Alternate the two sides and return medians, ratios and the raw rounds, with those of earlier runs, by shape."""
    raw: dict[str, list[dict[str, Any]]] = {shape: list(earlier.get(shape, {}).get("rounds", ())) for shape in shapes}
    for _, shape in itertools.product(range(rounds), shapes):
        raw[shape].append(_MEASURES[shape](env, backlog))
    return {shape: _summary(rows) for shape, rows in raw.items()}


def _backlog(env: Environment, backlog: int) -> dict[str, Any]:
    return {side.name: uvloop.run(drain(side, backlog)) for side in (bare_side(env), our_side(env))}


def _same_work(env: Environment, backlog: int) -> dict[str, Any]:
    bare_per_s = uvloop.run(drain(shop_side(env), backlog))
    return {"bare": bare_per_s, "ours": uvloop.run(drain(our_side(env), backlog))}


def _at_rate(env: Environment, _: int) -> dict[str, Any]:
    return {side.name: uvloop.run(at_rate(side, RATE)) for side in (bare_side(env), our_side(env))}


def _hot_coupon(env: Environment, backlog: int) -> dict[str, Any]:
    """Ours against ours: the cost of one hot row."""
    free, limited = our_side(env), our_side(env, coupon_limit=1_000_000_000)
    return {"bare": uvloop.run(drain(free, backlog)), "ours": uvloop.run(drain(limited, backlog))}


def _validations(env: Environment, _: int) -> dict[str, Any]:
    return {"ours": uvloop.run(validate_beside(our_side(env), RATE))}


_MEASURES: dict[str, Callable[[Environment, int], dict[str, Any]]] = {
    "backlog": _backlog,
    "backlog, same work": _same_work,
    f"at {RATE}/s": _at_rate,
    "one coupon's limit": _hot_coupon,
    f"validations at {VALIDATIONS_RATE}/s": _validations,
}
SHAPES = tuple(_MEASURES)


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"rounds": rows}
    for measure in ("per_s", "p50_ms", "p99_ms"):
        if measure in rows[0]["ours"]:
            sides = {side: statistics.median(row[side][measure] for row in rows) for side in rows[0]}
            if "bare" in sides:
                sides["ratio"] = statistics.median(row["ours"][measure] / row["bare"][measure] for row in rows)
            summary[measure] = sides
    return summary
