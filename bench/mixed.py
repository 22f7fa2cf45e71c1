"""A mixed day: all kinds of load at once at fixed rates, compared with each kind alone.

Checkouts by event, mints and redemptions with and without an `Idempotency-Key`, holds, lookups; and webhooks to three
receivers, of which one is slow and one fails sometimes. It reports what each caller sees, the share of a core that each
process uses, and the database's use of the disk. The broker writes to the same disk, which is not counted.
"""

import asyncio
import contextlib
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import asyncpg
import uvloop

from bench.disk import Counts, fsync_loop
from bench.environment import BENCH_PROGRAM, FOLDER, OPERATOR_TOKEN, SERVICES, Environment, Program, call, free_port
from bench.figures import Work, at_rate
from bench.meter import Meter
from shared.broker.publisher import Publisher
from shared.broker.wire import Outcome, Outgoing

SECONDS: Final = 300.0
# Per second; seven in ten mints and redemptions have a key.
RATES: Final = {
    "checkout event": 150.0,
    "mint": 48.0,
    "keyed mint": 112.0,
    "hold": 20.0,
    "redemption": 16.5,
    "keyed redemption": 38.5,
    "lookup": 50.0,
}
RECEIVERS: Final = {"fast": (), "slow": ("--slow", "0.2"), "failing": ("--failing", "0.05")}
_ALONE_SHARE, _LEAST_ALONE_SECONDS, _WARM_SECONDS = 1 / 30, 2.0, 2.0
# Callers' connection pools are bounded; waiting for a connection counts as waiting for the response.
_CONNECTIONS = 200
# Time for the last webhooks, without retries of the failing receiver.
_SETTLE_SECONDS = 30.0
_LIFETIME = timedelta(hours=48)
_QUOTA = 100_000_000
_INSERT_CODES = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_auto_generated,
                                   expires_at, redemption_limit, created_at, updated_at)
SELECT gen_random_uuid(), $1, k.id, $2, c, c, true, $4, 1, now(), now()
FROM unnest($3::text[]) AS c, codes.coupons k WHERE k.program_id = $1 AND k.is_partner_coupon
"""
_PENDING = "SELECT count(*) FROM webhooks.delivery_queue"


@dataclass
class Day:
    """The program, its two partners and their codes, and each kind of work as a call."""

    env: Environment
    program_id: str = ""
    key: str = ""
    partners: list[str] = field(default_factory=list)
    partner_keys: list[str] = field(default_factory=list)
    _codes: Iterator[str] = field(default_factory=lambda: iter(()))

    def prepare(self, ports: dict[str, int]) -> None:
        """Create the program, its partners, and the endpoints: one per partner, and the program's own, which fails."""
        base = self.env.urls["codes"]
        self.program_id = call("POST", f"{base}/v1/programs", OPERATOR_TOKEN, BENCH_PROGRAM)["data"]["id"]
        self.key = call("POST", f"{base}/v1/programs/{self.program_id}/keys", OPERATOR_TOKEN, {})["data"]["key"]
        for name in ("fast", "slow"):
            wanted = {"name": name, "prefix": name.upper(), "status": "active"}
            partner = call("POST", f"{base}/v1/partners", self.key, wanted)["data"]["id"]
            call("POST", f"{base}/v1/partners/{partner}/quota", self.key, {"amount": _QUOTA})
            made = call("POST", f"{base}/v1/partners/{partner}/keys", self.key, {"rate_limit_per_minute": 1_000_000})
            self.partners.append(partner)
            self.partner_keys.append(made["data"]["key"])
            self._subscribe(ports[name], partner_id=partner)
        self._subscribe(ports["failing"])

    def _subscribe(self, port: int, **members: str) -> None:
        wanted = {"url": f"http://127.0.0.1:{port}/hook", "event_types": ["code.redeemed"], **members}
        call("POST", f"{self.env.urls['webhooks']}/v1/webhooks/endpoints", self.key, wanted)

    async def make_codes(self, count: int) -> None:
        """Create redeemable codes of both partners in turn; minting them is a separate kind of work."""
        connection = await asyncpg.connect(self.env.database_url)
        made = []
        for partner in self.partners:
            codes = [f"B{uuid.uuid4().hex[:16].upper()}" for _ in range(count // 2 + 1)]
            program_id, partner_id = uuid.UUID(self.program_id), uuid.UUID(partner)
            await connection.execute(_INSERT_CODES, program_id, partner_id, codes, datetime.now(UTC) + _LIFETIME)
            made.append(codes)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()
        self._codes = itertools.chain.from_iterable(zip(*made, strict=True))

    def works(self, session: aiohttp.ClientSession, publisher: Publisher) -> dict[str, Work]:
        """Return each kind of work."""
        codes, redemption = self.env.urls["codes"], self.env.urls["redemption"]
        bearer = {"Authorization": f"Bearer {self.key}"}
        partner_keys = itertools.cycle(self.partner_keys)

        async def ask(method: str, url: str, headers: dict[str, str], body: object = None) -> str | None:
            async with session.request(method, url, headers=headers, json=body) as answer:
                await answer.read()
                return None if answer.status < 300 else str(answer.status)

        async def mint(**headers: str) -> str | None:
            url = f"{codes}/api/partners/codes/generate"
            return await ask("POST", url, {"X-Partner-Key": next(partner_keys), **headers})

        async def redeem(**headers: str) -> str | None:
            code = next(self._codes)
            body = {"codes": [code], "order_ref": f"order-{code}", "attributes": _stamped()}
            return await ask("POST", f"{redemption}/v1/redemptions", {**bearer, **headers}, body)

        async def hold() -> str | None:
            code = next(self._codes)
            body = {"codes": [code], "order_ref": f"order-{code}"}
            return await ask("POST", f"{redemption}/v1/reservations", bearer, body)

        async def look_up() -> str | None:
            return await ask("GET", f"{codes}/api/v1/promotional-codes?code={next(self._codes)}", bearer)

        async def check_out() -> str | None:
            [outcome] = (await publisher.send([self._checkout(next(self._codes))])).values()
            return None if outcome is Outcome.CONFIRMED else outcome

        return {
            "checkout event": check_out,
            "mint": mint,
            "keyed mint": lambda: mint(**_key()),
            "hold": hold,
            "redemption": redeem,
            "keyed redemption": lambda: redeem(**_key()),
            "lookup": look_up,
        }

    def _checkout(self, code: str) -> Outgoing:
        event_id = str(uuid.uuid4())
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": "/bench",
            "type": "checkout.completed",
            "time": datetime.now(UTC).isoformat(),
            "data": {
                "program_id": self.program_id,
                "order_ref": f"order-{code}",
                "codes": [code],
                "attributes": _stamped(),
            },
        }
        return Outgoing("checkout.completed", json.dumps(event).encode(), event_id)


def run(env: Environment, seconds: float = SECONDS) -> dict[str, Any]:
    """Run each kind of work alone and then all together for this time; return the results."""
    alone = max(_LEAST_ALONE_SECONDS, seconds * _ALONE_SHARE)
    loop = fsync_loop(FOLDER)
    ports = {name: free_port() for name in RECEIVERS}
    with contextlib.ExitStack() as stack:
        receivers = {
            name: stack.enter_context(env.bare("bench.receiver", *mode, str(ports[name])))
            for name, mode in RECEIVERS.items()
        }
        services = {name: stack.enter_context(env.service(name)) for name in SERVICES}
        day = Day(env)
        day.prepare(ports)
        measured = uvloop.run(_measured(day, services, receivers, alone, seconds))
    return {"seconds": seconds, "rates": dict(RATES), **measured, "fsync_loop": loop}


async def _measured(
    day: Day, services: dict[str, Program], receivers: dict[str, Program], alone: float, seconds: float
) -> dict[str, Any]:
    await day.make_codes(round(sum(RATES.values()) * (seconds + alone + _WARM_SECONDS)) + len(RATES))
    async with _clients(day) as works:
        for kind, work in works.items():
            await at_rate(work, RATES[kind], _WARM_SECONDS)
        by_itself = {kind: (await at_rate(work, RATES[kind], alone)).summary() for kind, work in works.items()}
        await _settled(day)
        for receiver in receivers.values():
            receiver.forget()
        before = await Counts.read(day.env.database_url)
        meter, own = Meter(day.env, services | receivers), time.process_time()
        async with asyncio.TaskGroup() as tasks:
            running = {kind: tasks.create_task(at_rate(work, RATES[kind], seconds)) for kind, work in works.items()}
        used = meter.percent_of_a_core() | {"this load": round((time.process_time() - own) / seconds * 100, 1)}
        disk = (await Counts.read(day.env.database_url)).per_second_since(before)
        pending = await _settled(day)
    return {
        "requests": {kind: {**task.result().summary(), "alone": by_itself[kind]} for kind, task in running.items()},
        "webhooks": {name: receiver.report() for name, receiver in receivers.items()},
        "webhooks_pending": pending,
        "percent_of_a_core": used,
        "disk_per_s": disk,
    }


@contextlib.asynccontextmanager
async def _clients(day: Day) -> AsyncIterator[dict[str, Work]]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CONNECTIONS)) as session,
        Publisher(day.env.amqp_url, "checkout") as publisher,
    ):
        await publisher.wait_ready(10)
        yield day.works(session, publisher)


async def _settled(day: Day) -> int:
    """Wait a while until no webhook is pending; return how many still are."""
    connection = await asyncpg.connect(day.env.database_url)
    until = time.monotonic() + _SETTLE_SECONDS
    # The events confirmed last may not have become webhooks yet.
    await asyncio.sleep(1)
    while (pending := await connection.fetchval(_PENDING)) and time.monotonic() < until:  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(0.5)
    await connection.close()
    return int(pending)


def _key() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


def _stamped() -> dict[str, str]:
    return {"card_id": repr(time.monotonic()), "recipient_name": "Sarah", "occasion": "mother"}


def show(result: dict[str, Any]) -> None:
    """Print the results for people."""
    print(f"\nmixed, {result['seconds']:g} s    per s     count    failed    p50 ms    p99 ms  p99.9 ms  alone p99 ms")
    for kind, seen in result["requests"].items():
        figures = [seen["p50_ms"], seen["p99_ms"], seen["p999_ms"], seen["alone"]["p99_ms"]]
        told = "".join(f"{'-' if each is None else f'{each:.1f}':>10}" for each in figures)
        print(f"{kind:<18}{result['rates'][kind]:>9g}{seen['count']:>10}{seen['failed']:>10}{told}")
        for reason, count in seen["failures"].items():
            print(f"    {count} failed: {reason}")
    for name, came in result["webhooks"].items():
        figures = [came["p50_ms"], came["p99_ms"], came["p999_ms"]]
        told = "".join(f"{'-' if each is None else f'{each:.1f}':>10}" for each in figures)
        print(f"{f'webhook, {name}':<18}{'':>9}{came['count']:>10}{came['refused']:>10}{told}")
    late = max(seen["began_late_p99_ms"] for seen in result["requests"].values())
    print(f"this load started its requests up to {late:.1f} ms late (p99); if that is much, it has measured itself")
    print(f"webhooks still pending: {result['webhooks_pending']}")
    print("percent of a core: " + ", ".join(f"{name} {used}" for name, used in result["percent_of_a_core"].items()))
    print("disk, per second: " + ", ".join(f"{name} {rate}" for name, rate in result["disk_per_s"].items()))
    print("fsync loop of the machine: " + ", ".join(f"{name} {each}" for name, each in result["fsync_loop"].items()))
