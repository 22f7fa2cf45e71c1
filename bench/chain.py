"""The whole chain, from publishing `checkout.completed` to the receiver's 2xx, beside a bare chain on equal queues.

At saturation a backlog is filled while the consumers are paused. At a fixed rate the load is open: events are published
on time, whether or not earlier ones have arrived.
"""

import asyncio
import contextlib
import json
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
import asyncpg
import uvloop

from bench.bare import chain as bare
from bench.environment import BENCH_PROGRAM, OPERATOR_TOKEN, Environment, Program, call, free_port

BACKLOG = 6000
RATES = (50, 200)
SECONDS_AT_RATE = 6
_LIFETIME = timedelta(hours=48)
_INSERT_CODES = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_auto_generated,
                                   expires_at, redemption_limit, created_at, updated_at)
SELECT gen_random_uuid(), $1, k.id, $2, c, translate(c, 'OIL-', '011'), true,
       $4, 1, now(), now()
FROM unnest($3::text[]) AS c, codes.coupons k WHERE k.program_id = $1 AND k.is_partner_coupon
"""


class Side:
    """One of the two chains: its running programs, and how its codes are created and its events written."""

    def __init__(self, name: str, env: Environment, programs: dict[str, Program], receiver: Program) -> None:
        self.name, self.env, self.programs, self.receiver = name, env, programs, receiver
        self.exchange, self.routing_key = "", ""
        self.program_id = self.partner_id = uuid.UUID(int=0)

    async def make_codes(self, count: int) -> list[str]:
        """Insert redeemable codes directly into the table: minting is measured elsewhere."""
        codes = [f"BENCH-{uuid.uuid4().hex[:16].upper()}" for _ in range(count)]
        expires_at = datetime.now(UTC) + _LIFETIME
        connection = await asyncpg.connect(self.env.database_url)
        if self.name == "ours":
            await connection.execute(_INSERT_CODES, self.program_id, self.partner_id, codes, expires_at)
        else:
            await connection.copy_records_to_table(
                "promo",
                schema_name="bare",
                columns=["partner_id", "code", "expires_at"],
                records=[(1, code, expires_at) for code in codes],
            )
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


@contextlib.contextmanager
def bare_side(env: Environment) -> Iterator[Side]:
    """Run the bare chain."""
    port = free_port()

    async def prepare() -> None:
        connection = await asyncpg.connect(env.database_url)
        await connection.execute(bare.SCHEMA)
        await connection.close()
        await bare.declare(env.amqp_url)

    asyncio.run(prepare())
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(env.bare("bench.receiver", str(port)))
        urls = {"redeem": (), "usage": (), "hooks": (f"http://127.0.0.1:{port}/hook",)}
        programs = {
            part: stack.enter_context(env.bare("bench.bare.chain", part, env.database_url, env.amqp_url, *more))
            for part, more in urls.items()
        }
        side = Side("bare", env, programs, receiver)
        side.routing_key = bare.CHECKOUT
        yield side


@contextlib.contextmanager
def our_side(env: Environment) -> Iterator[Side]:
    """Run the product: all three services, one program, one partner, one endpoint."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(env.bare("bench.receiver", str(port)))
        programs = {name: stack.enter_context(env.service(name)) for name in ("codes", "redemption", "webhooks")}
        side = Side("ours", env, programs, receiver)
        side.exchange, side.routing_key = "checkout", "checkout.completed"
        base = env.urls["codes"]
        program = call("POST", f"{base}/v1/programs", OPERATOR_TOKEN, BENCH_PROGRAM)["data"]["id"]
        manage = call("POST", f"{base}/v1/programs/{program}/keys", OPERATOR_TOKEN, {})["data"]["key"]
        wanted = {"name": "Partner", "prefix": "BENCH", "status": "active"}
        partner = call("POST", f"{base}/v1/partners", manage, wanted)["data"]["id"]
        key = call("POST", f"{base}/v1/partners/{partner}/keys", manage, {})["data"]["key"]
        endpoint = {"url": f"http://127.0.0.1:{port}/hook", "event_types": ["code.redeemed"]}
        call("POST", f"{env.urls['webhooks']}/v1/webhooks/endpoints", key, endpoint)
        side.program_id, side.partner_id = uuid.UUID(program), uuid.UUID(partner)
        yield side


class Publisher:
    """Publishes checkout events with confirms."""

    def __init__(self, channel: Any, side: Side) -> None:
        self.channel, self.side = channel, side

    async def publish(self, code: str) -> None:
        """Publish one event and wait for its confirm."""
        exchange = await self.channel.get_exchange(self.side.exchange, ensure=False)
        message = aio_pika.Message(self.side.event(code), delivery_mode=2, content_type="application/cloudevents+json")
        await exchange.publish(message, self.side.routing_key)

    async def fill(self, codes: Sequence[str]) -> None:
        """Publish all, a hundred at a time."""
        for start in range(0, len(codes), 100):
            await asyncio.gather(*(self.publish(code) for code in codes[start : start + 100]))

    async def at_rate(self, codes: Sequence[str], per_second: int) -> None:
        """Publish each event on time."""
        started, tasks = time.monotonic(), []
        for number, code in enumerate(codes):
            delay = started + number / per_second - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.append(asyncio.create_task(self.publish(code)))
        await asyncio.gather(*tasks)


async def saturate(side: Side) -> dict[str, Any]:
    """Process a backlog; the rate is that of the arrivals at the receiver."""
    codes = await side.make_codes(BACKLOG)
    for program in side.programs.values():
        program.pause()
    await _publish(side, lambda publisher: publisher.fill(codes))
    used = {name: program.cpu_seconds() for name, program in side.programs.items()}
    for program in side.programs.values():
        program.go_on()
    report = await _received(side, BACKLOG)
    used = {name: program.cpu_seconds() - used[name] for name, program in side.programs.items()}
    return {
        "per_s": (BACKLOG - 1) / (report["last"] - report["first"]),
        "cpu_us_per_event": {name: round(seconds / BACKLOG * 1e6) for name, seconds in used.items()},
    }


async def at_rate(side: Side, per_second: int) -> dict[str, Any]:
    """Publish at a fixed rate and return the latencies up to the receiver."""
    warm = await side.make_codes(100)
    codes = await side.make_codes(per_second * SECONDS_AT_RATE)
    await _publish(side, lambda publisher: publisher.at_rate(warm, per_second))
    await _received(side, len(warm))
    await _publish(side, lambda publisher: publisher.at_rate(codes, per_second))
    report = await _received(side, len(codes))
    return {"p50_ms": report["p50_ms"], "p99_ms": report["p99_ms"]}


async def _publish(side: Side, work: Any) -> None:
    connection = await aio_pika.connect(side.env.amqp_url)
    async with connection:
        await work(Publisher(await connection.channel(), side))


async def _received(side: Side, count: int) -> dict[str, Any]:
    """Wait until the receiver has this many, and check that it has each exactly once."""
    until = time.monotonic() + 90
    report = side.receiver.report()
    while report["count"] < count:
        if time.monotonic() > until:
            raise SystemExit(f"{side.name}: {report['count']} of {count} webhooks arrived.")
        await asyncio.sleep(0.5)
        report = side.receiver.report()
    if not report["count"] == report["distinct"] == count:
        raise SystemExit(f"{side.name}: {report['count']} webhooks for {count} events, {report['distinct']} distinct.")
    side.receiver.forget()
    return report


def run(env: Environment, rounds: int) -> dict[str, Any]:
    """Alternate the two chains and return medians, ratios and the raw rounds."""
    shapes: list[tuple[str, Callable[..., Awaitable[dict[str, Any]]], tuple[int, ...]]] = [
        ("at saturation", saturate, ()),
        *((f"at {rate}/s", at_rate, (rate,)) for rate in RATES),
    ]
    raw: dict[str, list[dict[str, Any]]] = {name: [] for name, *_ in shapes}
    for _ in range(rounds):
        measured: dict[str, dict[str, Any]] = {name: {} for name in raw}
        for name, make in (("bare", bare_side), ("ours", our_side)):
            with make(env) as side:
                for shape, measure, arguments in shapes:
                    measured[shape][name] = uvloop.run(_measure(measure, side, *arguments))
        for shape, row in measured.items():
            raw[shape].append(row)
    return {name: _summary(rows) for name, rows in raw.items()}


async def _measure(measure: Callable[..., Awaitable[dict[str, Any]]], *arguments: Any) -> dict[str, Any]:
    return await measure(*arguments)


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"rounds": rows}
    for measure in ("per_s", "p50_ms", "p99_ms"):
        if measure in rows[0]["ours"]:
            summary[measure] = {
                side: statistics.median(row[side][measure] for row in rows) for side in ("bare", "ours")
            }
            summary[measure]["ratio"] = statistics.median(row["ours"][measure] / row["bare"][measure] for row in rows)
    return summary
