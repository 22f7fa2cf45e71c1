"""A bare aiohttp server that redeems, holds, validates and voids, in groups: what arrives meanwhile goes together.

It does the work of the product with the same libraries, and has no rules: a key is recognised, an order's and a code's
row are locked, what decides is read in a new statement, and the outcome is written with its event, which is published
with a confirm. It shows what the work itself costs.

usage: python -m bench.bare.checkout DATABASE_URL PORT AMQP_URL
"""

import asyncio
import hashlib
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import orjson
import uuid_utils.compat
import uvloop
from aiohttp import web

from shared.broker import topology
from shared.broker.publisher import Publisher
from shared.events.envelope import OutboxEvent

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS bare;
DROP TABLE IF EXISTS bare.shop_keys, bare.shop_codes, bare.shop_orders, bare.shop_redemptions, bare.shop_holds,
    bare.shop_events, bare.shop_outbox;
CREATE TABLE bare.shop_keys (key_hash bytea PRIMARY KEY);
CREATE TABLE bare.shop_codes (
    code text PRIMARY KEY, expires_at timestamptz NOT NULL, percent int NOT NULL, uses int NOT NULL DEFAULT 0,
    use_limit int NOT NULL, held_until timestamptz);
CREATE TABLE bare.shop_orders (order_ref text PRIMARY KEY, hold_id uuid);
CREATE TABLE bare.shop_redemptions (
    id uuid PRIMARY KEY, order_ref text NOT NULL, code text NOT NULL, discount int, created_at timestamptz NOT NULL,
    voided_at timestamptz);
CREATE UNIQUE INDEX ON bare.shop_redemptions (order_ref, code) WHERE voided_at IS NULL;
CREATE INDEX ON bare.shop_redemptions (code);
CREATE TABLE bare.shop_holds (
    id uuid PRIMARY KEY, order_ref text NOT NULL, code text NOT NULL, expires_at timestamptz NOT NULL);
CREATE INDEX ON bare.shop_holds (code);
CREATE TABLE bare.shop_events (id uuid PRIMARY KEY, body bytea NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE bare.shop_outbox (event_id uuid PRIMARY KEY, leased_until timestamptz NOT NULL);
"""
FIND_KEY = "SELECT 1 FROM bare.shop_keys WHERE key_hash = $1"
LOCK = """
WITH o AS (INSERT INTO bare.shop_orders (order_ref) SELECT * FROM unnest($1::text[]) AS o (ref) ORDER BY ref
           ON CONFLICT (order_ref) DO UPDATE SET hold_id = shop_orders.hold_id RETURNING 1)
SELECT code FROM bare.shop_codes WHERE code = ANY ($2) AND (SELECT count(*) FROM o) >= 0 ORDER BY code FOR NO KEY UPDATE
"""
READ = """
SELECT c.code, c.expires_at > now() AND c.uses < c.use_limit AS is_good, c.percent,
       (SELECT count(*) FROM bare.shop_holds h WHERE h.code = c.code AND h.expires_at > now()) AS held
FROM bare.shop_codes c WHERE c.code = ANY ($1)
"""
REDEEM = """
WITH r AS (INSERT INTO bare.shop_redemptions (id, order_ref, code, discount, created_at)
           SELECT *, now() FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[])),
     event AS (INSERT INTO bare.shop_events (id, body, created_at)
               SELECT *, now() FROM unnest($5::uuid[], $6::bytea[])),
     pending AS (INSERT INTO bare.shop_outbox (event_id, leased_until)
                 SELECT id, now() + interval '10 s' FROM unnest($5::uuid[]) AS e (id))
UPDATE bare.shop_codes SET uses = uses + 1 WHERE code = ANY ($3)
"""
HOLD = """
WITH h AS (INSERT INTO bare.shop_holds (id, order_ref, code, expires_at)
           SELECT *, now() + interval '15 min' FROM unnest($1::uuid[], $2::text[], $3::text[])),
     o AS (UPDATE bare.shop_orders o SET hold_id = u.id FROM unnest($1::uuid[], $2::text[]) AS u (id, ref)
           WHERE o.order_ref = u.ref)
UPDATE bare.shop_codes SET held_until = now() + interval '15 min' WHERE code = ANY ($3)
"""
FIND = "SELECT order_ref, code FROM bare.shop_redemptions WHERE id = $1"
VOID = """
WITH r AS (UPDATE bare.shop_redemptions SET voided_at = now() WHERE id = ANY ($1::uuid[])),
     event AS (INSERT INTO bare.shop_events (id, body, created_at)
               SELECT *, now() FROM unnest($3::uuid[], $4::bytea[])),
     pending AS (INSERT INTO bare.shop_outbox (event_id, leased_until)
                 SELECT id, now() + interval '10 s' FROM unnest($3::uuid[]) AS e (id))
UPDATE bare.shop_codes SET uses = uses - 1 WHERE code = ANY ($2)
"""
CLEAR = "DELETE FROM bare.shop_outbox WHERE event_id = ANY ($1)"
GATHER_SECONDS = 0.1
Ask = tuple[uuid.UUID, str, str]


class Shop:
    """Works through what waits, kind by kind, one transaction after the other."""

    def __init__(self, pool: Any, publisher: Publisher) -> None:
        self.pool, self.publisher = pool, publisher
        self.waiting: list[tuple[str, Ask, asyncio.Future[bool]]] = []
        self.wake = asyncio.Event()
        self.events: list[OutboxEvent] = []

    async def ask(self, kind: str, ask: Ask) -> bool:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.waiting.append((kind, ask, answer))
        self.wake.set()
        return await answer

    async def work(self) -> None:
        async with self.pool.acquire() as connection:
            while True:
                await self.wake.wait()
                group, self.waiting = self.waiting[:500], self.waiting[500:]
                if not self.waiting:
                    self.wake.clear()
                if not group:
                    continue
                made: list[OutboxEvent] = []
                async with connection.transaction():
                    good = await self._decide(connection, group, made)
                self.events += made
                for (_, _, answer), is_good in zip(group, good, strict=True):
                    answer.set_result(is_good)

    async def _decide(self, connection: Any, group: Sequence[Any], made: list[OutboxEvent]) -> list[bool]:
        asks: list[Ask] = [ask for _, ask, _ in group]
        await connection.fetch(LOCK, sorted({ask[1] for ask in asks}), [ask[2] for ask in asks])
        rows = {row["code"]: row for row in await connection.fetch(READ, [ask[2] for ask in asks])}
        good = [kind == "void" or (ask[2] in rows and rows[ask[2]]["is_good"]) for kind, ask, _ in group]
        for kind in ("redeem", "hold", "void"):
            chosen = [ask for (each, ask, _), is_good in zip(group, good, strict=True) if each == kind and is_good]
            if not chosen:
                continue
            ids, refs, codes = ([ask[column] for ask in chosen] for column in range(3))
            if kind == "hold":
                await connection.execute(HOLD, ids, refs, codes)
                continue
            events = [_event(kind, ask) for ask in chosen]
            made += events
            told = [event.id for event in events], [event.body for event in events]
            if kind == "redeem":
                await connection.execute(REDEEM, ids, refs, codes, [rows[code]["percent"] for code in codes], *told)
            else:
                await connection.execute(VOID, ids, codes, *told)
        return good

    async def publish(self) -> None:
        """Publish what has gathered, and clear what is confirmed."""
        while True:
            await asyncio.sleep(GATHER_SECONDS)
            while self.events:
                batch, self.events = self.events[:500], self.events[500:]
                await self.pool.execute(CLEAR, list(await self.publisher.publish_many(batch)))


def _event(kind: str, ask: Ask) -> OutboxEvent:
    id_ = uuid_utils.compat.uuid7()
    type_ = "code.redeemed" if kind == "redeem" else "code.redemption_voided"
    data = {"redemption_id": ask[0], "order_ref": ask[1], "code": ask[2], "program_id": ask[0], "occurred_at": None}
    body = {"specversion": "1.0", "id": id_, "source": "/bare", "type": type_, "data": data}
    return OutboxEvent(id_, type_, orjson.dumps(body))


Handler = Callable[[web.Request], Awaitable[web.Response]]


def routes(shop: Shop, known: set[bytes]) -> list[web.RouteDef]:
    """Return the four doors; each recognises the key, parses the body and answers as JSON."""

    async def recognise(request: web.Request) -> None:
        key = hashlib.sha256(request.headers["Authorization"].encode()).digest()
        if key not in known:
            if await shop.pool.fetchval(FIND_KEY, key) is None:
                raise web.HTTPUnauthorized
            known.add(key)

    def answer(status: int, data: Any) -> web.Response:
        return web.Response(status=status, body=orjson.dumps({"data": data}), content_type="application/json")

    def asking(kind: str) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            await recognise(request)
            body = orjson.loads(await request.read())
            ask = (uuid_utils.compat.uuid7(), body["order_ref"], body["codes"][0])
            if not await shop.ask(kind, ask):
                return answer(409, {})
            uses = {"id": ask[0], "code": ask[2], "order_ref": ask[1]}
            return answer(201, {"order_ref": ask[1], "redemptions": [uses], "id": ask[0]})

        return handle

    async def validate(request: web.Request) -> web.Response:
        await recognise(request)
        body = orjson.loads(await request.read())
        rows = await shop.pool.fetch(READ, body["codes"])
        return answer(200, {"valid": bool(rows) and all(r["is_good"] and not r["held"] for r in rows)})

    async def void(request: web.Request) -> web.Response:
        await recognise(request)
        await request.read()
        id_ = uuid.UUID(request.match_info["id"])
        row = await shop.pool.fetchrow(FIND, id_)
        await shop.ask("void", (id_, row["order_ref"], row["code"]))
        return answer(200, {"id": id_, "code": row["code"], "order_ref": row["order_ref"]})

    return [
        web.post("/v1/redemptions", asking("redeem")),
        web.post("/v1/reservations", asking("hold")),
        web.post("/v1/validations", validate),
        web.post("/v1/redemptions/{id}/void", void),
    ]


async def _no_reset(_: Any) -> None:
    return None


async def main(database_url: str, port: int, amqp_url: str) -> None:
    """Serve until SIGTERM."""
    settings = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
    async with (
        Publisher(amqp_url, topology.EXCHANGE_REDEMPTION) as publisher,
        asyncpg.create_pool(database_url, min_size=8, max_size=8, reset=_no_reset, server_settings=settings) as pool,
    ):
        shop = Shop(pool, publisher)
        workers = [asyncio.create_task(shop.work()), asyncio.create_task(shop.publish())]
        app = web.Application()
        app.add_routes(routes(shop, set()))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        for worker in workers:
            worker.add_done_callback(lambda _: stop.set())
        print("ready", flush=True)
        await stop.wait()
        for worker in workers:
            worker.cancel()
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
