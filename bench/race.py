"""Races for codes: buyers over HTTP and AMQP at once, on replicas of the redemption service, and the winners.

The verdict does not trust the service: it reads its ledger in the database and the events that it published, and
compares both with what each buyer was answered.

usage: python -m bench.race [--runs N] [--codes N] [--racers N] [--replicas N] [--append]
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import platform
import random
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import asyncpg
import uvloop

from bench.environment import OPERATOR_TOKEN, Environment, call, environment
from shared.broker.publisher import Publisher
from shared.broker.topology import EXCHANGE_CHECKOUT, EXCHANGE_REDEMPTION
from shared.broker.wire import Outcome, Outgoing

RESULTS = Path(__file__).parent / "results" / "race.json"
CAP, CROWD, VOIDS = 100, 150, 100
KEYS, TWINS, KILLS = 16, 4, 3
_QUEUE = "bench.race"
_CHANCE = random.Random()  # noqa: S311 - when to ask and when to kill is no secret
_DEADLINE_SECONDS = 120
# Codes raced for at the same time; the next lot starts when every buyer over HTTP has a response.
_LOT = 10
_INSERT_COUPON = """
INSERT INTO codes.coupons (id, program_id, uuid_code, name, discount_type, percent_hundredths, duration_type,
                           redemption_limit, created_at, updated_at)
VALUES ($1, $2, $3, 'Race', 'percent', 1000, 'once', $4, now(), now())
"""
_INSERT_CODES = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, code, canonical, redemption_limit, created_at, updated_at)
SELECT gen_random_uuid(), $1, $2, c, c, $4, now(), now() FROM unnest($3::text[]) AS c
"""
# The ledger: the orders that hold a code, and the counter of each code beside the rows that it counts.
_HOLDERS = """
SELECT r.canonical, r.order_ref FROM redemption.redemptions r
WHERE r.program_id = $1 AND r.canonical = ANY ($2::text[]) AND r.voided_at IS NULL
"""
# The service retries after a deadlock, so no response shows it; the server counts it.
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
# A session reports its counts about a second later.
_COUNTED_SECONDS = 2.0
_END_SESSIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE usename = 'mintwire_redemption' AND datname = current_database()
"""
_COUNTERS = """
SELECT c.canonical, n.uses FROM codes.promotion_codes c JOIN redemption.code_counters n ON n.code_id = c.id
WHERE c.program_id = $1 AND c.canonical = ANY ($2::text[])
"""


_SETTLED = """
SELECT (SELECT count(*) FROM redemption.inbox) AS taken, (SELECT count(*) FROM redemption.outbox) AS waiting,
       (SELECT count(*) FROM redemption.events) AS written
"""


@dataclass(frozen=True)
class Buyer:
    """An order that wants a code, and the channel it uses."""

    order_ref: str
    code: str
    is_over_http: bool


@dataclass
class Results:
    """The results of each order: responses over HTTP, and events."""

    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    redeemed: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    voided: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


class Track:
    """The replicas, a program, and the connections to them."""

    def __init__(self, env: Environment, urls: Sequence[str], program_id: uuid.UUID, key: str) -> None:
        self.env, self.program_id, self.key = env, program_id, key
        self.replica = itertools.cycle(urls)
        self.results = Results()
        self.published = 0
        self.heard: set[str] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connect: a queue with all events of the service, a publisher, an HTTP client, the database."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with (
            await aio_pika.connect(self.env.amqp_url) as connection,
            Publisher(self.env.amqp_url, EXCHANGE_CHECKOUT) as self.publisher,
            aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as self.http,
        ):
            await self.publisher.wait_ready(10)
            self.database = await asyncpg.connect(self.env.database_url)
            channel = await connection.channel()
            await channel.set_qos(1000)
            queue = await channel.declare_queue(_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            await queue.bind(EXCHANGE_REDEMPTION, "#")
            await queue.purge()
            tag = await queue.consume(self._hear)
            try:
                yield
            finally:
                await queue.cancel(tag)
                await queue.delete(if_unused=False, if_empty=False)
                await self.database.close()

    async def _hear(self, message: Any) -> None:
        event = json.loads(message.body)
        data, type_ = event["data"], event["type"]
        heard = {
            "code.redeemed": "redeemed",
            "code.redemption_rejected": "rejected",
            "code.redemption_voided": "voided",
        }
        # The same event may arrive twice, but there must not be two events about one thing.
        if event["id"] not in self.heard and type_ in heard:
            getattr(self.results, heard[type_])[data["order_ref"]] += 1
            if type_ == "code.redemption_rejected":
                self.results.reasons[data["reason"]] += 1
        self.heard.add(event["id"])
        await message.ack()

    async def settle(self) -> None:
        """Wait until every checkout event is processed, and every resulting event has arrived."""
        until = time.monotonic() + _DEADLINE_SECONDS
        while True:
            row = await self.database.fetchrow(_SETTLED)
            assert row is not None
            if (row["taken"], row["waiting"], row["written"]) == (self.published, 0, len(self.heard)):
                return
            if time.monotonic() > until:
                raise SystemExit(f"Not settled: {dict(row)}, published {self.published}, heard {len(self.heard)}")
            await asyncio.sleep(0.05)

    async def make_codes(self, count: int, *, limit: int | None, coupon_limit: int | None = None) -> list[str]:
        """Create codes of a new coupon."""
        coupon_id = uuid.uuid4()
        codes = [f"R{uuid.uuid4().hex[:12].upper()}" for _ in range(count)]
        await self.database.execute(_INSERT_COUPON, coupon_id, self.program_id, coupon_id.hex, coupon_limit)
        await self.database.execute(_INSERT_CODES, self.program_id, coupon_id, codes, limit)
        return codes

    async def race(self, buyers: Sequence[Buyer]) -> None:
        """Let all buyers ask at once; returns when everyone over HTTP has a response and the events are published."""
        over_http = [buyer for buyer in buyers if buyer.is_over_http]
        others = [buyer for buyer in buyers if not buyer.is_over_http]
        random.shuffle(over_http)
        random.shuffle(others)
        await asyncio.gather(self._publish(others), *(self._buy(buyer) for buyer in over_http))

    async def _buy(self, buyer: Buyer) -> None:
        body = {"order_ref": buyer.order_ref, "codes": [buyer.code]}
        async with self.http.post(f"{next(self.replica)}/v1/redemptions", json=body) as answer:
            self.results.answers[buyer.order_ref] = (answer.status, (await answer.json()).get("code", ""))

    async def _publish(self, buyers: Sequence[Buyer]) -> None:
        await self.send([("checkout.completed", {"order_ref": b.order_ref, "codes": [b.code]}) for b in buyers])

    async def send(self, events: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Publish checkout events, and require every confirm."""
        messages = []
        for type_, data in events:
            event_id = uuid.uuid4().hex
            envelope = {"specversion": "1.0", "id": event_id, "source": "/race", "type": type_}
            body = {
                **envelope,
                "time": datetime.now(UTC).isoformat(),
                "data": {"program_id": str(self.program_id), **data},
            }
            messages.append(Outgoing(type_, json.dumps(body).encode(), event_id))
        self.published += len(messages)
        outcomes = await self.publisher.send(messages)
        if set(outcomes.values()) - {Outcome.CONFIRMED}:
            raise SystemExit("Not every checkout event was confirmed.")


def faults_of(
    results: Results, buyers: Sequence[Buyer], holders: dict[str, list[str]], winners_wanted: int
) -> list[str]:
    """Return the faults of a race: the result of each buyer compared with the ledger."""
    faults: list[str] = []
    holding = {order_ref for orders in holders.values() for order_ref in orders}
    if sum(len(orders) for orders in holders.values()) != winners_wanted:
        faults.append(f"{len(holding)} orders hold a code, not {winners_wanted}")
    for buyer in buyers:
        ref = buyer.order_ref
        has_won = ref in holding
        if results.redeemed[ref] != has_won:
            faults.append(f"{ref}: {results.redeemed[ref]} code.redeemed, and in the ledger {has_won}")
        if buyer.is_over_http:
            status, code = results.answers.get(ref, (0, ""))
            if (status, bool(code)) != ((201, False) if has_won else (409, True)):
                faults.append(f"{ref}: answered {status} {code}, and in the ledger {has_won}")
        elif results.rejected[ref] != (not has_won):
            faults.append(f"{ref}: {results.rejected[ref]} code.redemption_rejected, and in the ledger {has_won}")
    return faults


async def contest(track: Track, codes: Sequence[str], racers_per_code: int, winners_wanted: int) -> dict[str, Any]:
    """Race for codes, every other buyer over HTTP, and return the numbers and the faults."""
    track.results = results = Results()
    started = time.monotonic()
    everybody: list[Buyer] = []
    for first in range(0, len(codes), _LOT):
        lot = [
            Buyer(f"{code}-{number}", code, number % 2 == 0)
            for code in codes[first : first + _LOT]
            for number in range(racers_per_code)
        ]
        everybody += lot
        await track.race(lot)
    await track.settle()
    holders: dict[str, list[str]] = defaultdict(list)
    for row in await track.database.fetch(_HOLDERS, track.program_id, list(codes)):
        holders[row["canonical"]].append(row["order_ref"])
    faults = faults_of(results, everybody, holders, winners_wanted)
    for row in await track.database.fetch(_COUNTERS, track.program_id, list(codes)):
        if row["uses"] != len(holders[row["canonical"]]):
            faults.append(f"{row['canonical']}: counted {row['uses']}, held by {len(holders[row['canonical']])}")
    return {
        "buyers": len(everybody),
        "winners": sum(len(orders) for orders in holders.values()),
        "winners_over_http": sum(status == 201 for status, _ in results.answers.values()),
        "refused_over_http": dict(Counter(code for status, code in results.answers.values() if status == 409)),
        "refused_by_event": dict(results.reasons),
        "seconds": round(time.monotonic() - started, 2),
        "faults": faults,
    }


async def singles(track: Track, codes: int, racers: int) -> dict[str, Any]:
    """Many buyers for each single-use code: one gets it."""
    return await contest(track, await track.make_codes(codes, limit=1), racers, codes)


async def capped_code(track: Track, crowd: int) -> dict[str, Any]:
    """Many buyers for a code with a limit: exactly that many get it, and nobody is refused while uses remain."""
    return await contest(track, await track.make_codes(1, limit=CAP), crowd, min(CAP, crowd))


async def capped_coupon(track: Track, crowd: int) -> dict[str, Any]:
    """Many buyers with a code each, of a coupon with a limit."""
    return await contest(track, await track.make_codes(crowd, limit=1, coupon_limit=CAP), 1, CAP)


async def voids(track: Track) -> dict[str, Any]:
    """Many void a redemption at once, by its id, its order and by event: the use is released once."""
    track.results = results = Results()
    started = time.monotonic()
    [code] = await track.make_codes(1, limit=5)
    await contest(track, [code], 2, 2)
    body = {"order_ref": f"{code}-void", "codes": [code]}
    async with track.http.post(f"{next(track.replica)}/v1/redemptions", json=body) as answer:
        redemption = (await answer.json())["data"]["redemptions"][0]["id"]
    track.results = results = Results()
    ref = f"{code}-void"

    async def void(number: int) -> int:
        path = f"redemptions/{redemption}" if number % 3 else f"orders/{ref}"
        async with track.http.post(f"{next(track.replica)}/v1/{path}/void", json={"reason": "cancel"}) as reply:
            await reply.read()
            return reply.status

    events = [("checkout.cancelled", {"order_ref": ref})] * (VOIDS // 4)
    statuses, _ = await asyncio.gather(
        asyncio.gather(*(void(number) for number in range(VOIDS - len(events)))), track.send(events)
    )
    await track.settle()
    rows = await track.database.fetch(_COUNTERS, track.program_id, [code])
    faults = []
    if set(statuses) != {200}:
        faults.append(f"answered {dict(Counter(statuses))}")
    if results.voided[ref] != 1:
        faults.append(f"{results.voided[ref]} code.redemption_voided")
    if rows[0]["uses"] != 2:
        faults.append(f"counted {rows[0]['uses']}, not 2")
    return {
        "buyers": VOIDS,
        "winners": results.voided[ref],
        "seconds": round(time.monotonic() - started, 2),
        "faults": faults,
    }


async def keyed(track: Track, kills: int) -> dict[str, Any]:
    """Ask under each key several times at once, retrying until there is a response: one use and one response per key.

    Meanwhile all database sessions of the service are ended `kills` times, some of them after a commit whose
    confirmation is lost.
    """
    track.results = results = Results()
    started = time.monotonic()
    codes = await track.make_codes(KEYS, limit=1)
    answers: dict[str, set[tuple[int, bytes]]] = defaultdict(set)

    async def ask(code: str) -> None:
        while True:
            body, headers = {"order_ref": f"{code}-keyed", "codes": [code]}, {"Idempotency-Key": code}
            async with track.http.post(f"{next(track.replica)}/v1/redemptions", json=body, headers=headers) as reply:
                raw = await reply.read()
            if reply.status != 503 and b"idempotency_in_progress" not in raw:
                answers[code].add((reply.status, raw))
                return
            await asyncio.sleep(_CHANCE.uniform(0, 0.02))

    async def kill() -> None:
        for _ in range(kills):
            await asyncio.sleep(_CHANCE.uniform(0, 0.03))
            await track.database.execute(_END_SESSIONS)

    await asyncio.gather(kill(), *(ask(code) for code in codes * TWINS))
    await track.settle()
    faults = [f"{code}: {len(each)} answers" for code, each in answers.items() if len(each) != 1]
    faults += [f"{code}: answered {status}" for code, each in answers.items() for status, _ in each if status != 201]
    holders = Counter(row["canonical"] for row in await track.database.fetch(_HOLDERS, track.program_id, codes))
    uses = {row["canonical"]: row["uses"] for row in await track.database.fetch(_COUNTERS, track.program_id, codes)}
    for code in codes:
        found = holders[code], uses.get(code), results.redeemed[f"{code}-keyed"]
        if found != (1, 1, 1):
            faults.append(f"{code}: held, counted and announced {found} times")
    return {
        "buyers": KEYS * TWINS,
        "winners": holders.total(),
        "seconds": round(time.monotonic() - started, 2),
        "faults": faults,
    }


@contextlib.contextmanager
def replicas(env: Environment, count: int) -> Iterator[list[str]]:
    """Run this many processes of the redemption service on one database and broker."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(env.replica("redemption")) for _ in range(count)]


async def run(env: Environment, urls: Sequence[str], program_id: uuid.UUID, key: str, wanted: Any) -> dict[str, Any]:
    """Run every race the requested number of times."""
    races: dict[str, Callable[[Track], Any]] = {
        f"{wanted.codes} single-use codes, {wanted.racers} buyers each": lambda track: singles(
            track, wanted.codes, wanted.racers
        ),
        f"one code, {CAP} uses, {CROWD} buyers": lambda track: capped_code(track, CROWD),
        f"one code, {CAP} uses, {CAP} buyers": lambda track: capped_code(track, CAP),
        f"one coupon, {CAP} uses, {CROWD} codes": lambda track: capped_coupon(track, CROWD),
        f"one redemption, {VOIDS} voids": voids,
        f"{KEYS} keys, {TWINS} requests each": lambda track: keyed(track, 0),
        f"{KEYS} keys, {TWINS} requests each, sessions killed": lambda track: keyed(track, KILLS),
    }
    results: dict[str, Any] = {name: [] for name in races}
    track = Track(env, urls, program_id, key)
    async with track.open():
        for _ in range(wanted.runs):
            for name, race in races.items():
                results[name].append(await race(track))
        await asyncio.sleep(_COUNTED_SECONDS)
        if deadlocks := await track.database.fetchval(_DEADLOCKS):
            results[name][-1]["faults"].append(f"{deadlocks} deadlocks in all races together")
    return results


def main() -> int:
    """Race, print a table, write the results; the exit status is 1 if there was any fault."""
    parser = argparse.ArgumentParser(prog="python -m bench.race", description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--codes", type=int, default=100, help="single-use codes a run (default 100)")
    parser.add_argument("--racers", type=int, default=16, help="buyers for each of them (default 16)")
    parser.add_argument("--replicas", type=int, default=3, help="processes of the service (default 3)")
    parser.add_argument("--append", action="store_true", help="keep the runs of the same races in the results")
    wanted = parser.parse_args()
    with environment() as env:
        with env.service("codes"):
            base = f"{env.urls['codes']}/v1/programs"
            body = {"name": "Race", "link_url": "https://shop.example"}
            program = call("POST", base, OPERATOR_TOKEN, body)["data"]["id"]
            key = call("POST", f"{base}/{program}/keys", OPERATOR_TOKEN, {})["data"]["key"]
        with replicas(env, wanted.replicas) as urls:
            results = uvloop.run(run(env, urls, uuid.UUID(program), key, wanted))
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.system()}
    kept = json.loads(RESULTS.read_text())["results"] if wanted.append and RESULTS.exists() else {}
    results = {name: [*kept.get(name, []), *runs] for name, runs in results.items()}
    document = {"raced_at": datetime.now(UTC).isoformat(), "machine": machine, "replicas": wanted.replicas}
    document |= {"results": results}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    return _print(results)


def _print(results: dict[str, list[dict[str, Any]]]) -> int:
    print(f"\n{'race':<46}{'runs':>6}{'buyers':>9}{'winners':>12}{'seconds':>9}{'faults':>8}")
    found = 0
    for name, runs in results.items():
        faults = [fault for run in runs for fault in run["faults"]]
        winners = "/".join(str(count) for count in sorted({run["winners"] for run in runs}))
        seconds = sum(run["seconds"] for run in runs)
        print(f"{name:<46}{len(runs):>6}{runs[0]['buyers']:>9}{winners:>12}{seconds:>9.1f}{len(faults):>8}")
        for fault in faults[:10]:
            print(f"    {fault}")
        found += len(faults)
    sys.stdout.flush()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
