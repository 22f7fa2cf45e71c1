"""A bare aiohttp server that mints: key lookup, quota and insert, in one statement per request or per group.

The mode `whole` adds everything else that a mint of the product writes: the window of the key's rate limit, the
ledger row, the event with its outbox row, published with a confirm to the product's own exchange. It has no rules and
no more HTTP than the others, so it shows the cost of the work itself.

usage: python -m bench.bare.mint DATABASE_URL PORT one|group
       python -m bench.bare.mint DATABASE_URL PORT whole AMQP_URL
"""

import asyncio
import contextlib
import hashlib
import secrets
import signal
import sys
from datetime import UTC, datetime, timedelta
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
DROP TABLE IF EXISTS bare.partners, bare.codes, bare.keys, bare.whole_codes, bare.ledger, bare.events, bare.outbox;
CREATE TABLE bare.partners (
    id int PRIMARY KEY, key_hash bytea NOT NULL UNIQUE, prefix text NOT NULL,
    active bool NOT NULL DEFAULT true, codes_remaining bigint NOT NULL);
CREATE TABLE bare.codes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, partner_id int NOT NULL, code text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL, redeemed_at timestamptz);
CREATE TABLE bare.keys (
    key_hash bytea PRIMARY KEY, partner_id int NOT NULL, a_minute int NOT NULL, window_started_at timestamptz,
    window_used int NOT NULL DEFAULT 0);
CREATE TABLE bare.whole_codes (
    id uuid PRIMARY KEY, partner_id int NOT NULL, code text NOT NULL UNIQUE, expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON bare.whole_codes (partner_id, id);
CREATE TABLE bare.ledger (
    id uuid PRIMARY KEY, partner_id int NOT NULL, amount int NOT NULL, code_ids uuid[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON bare.ledger (partner_id, id);
CREATE TABLE bare.events (id uuid PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE bare.outbox (event_id uuid PRIMARY KEY, leased_until timestamptz NOT NULL);
"""
ONE = """
WITH p AS (UPDATE bare.partners SET codes_remaining = codes_remaining - 1
           WHERE key_hash = $1 AND active AND codes_remaining > 0 RETURNING id, prefix)
INSERT INTO bare.codes (partner_id, code, expires_at) SELECT id, prefix || '-' || $2, $3 FROM p RETURNING code
"""
GROUP = """
WITH request AS (SELECT k, h FROM unnest($1::bytea[], $2::text[]) AS t (k, h)),
     p AS (SELECT id, prefix, key_hash FROM bare.partners WHERE key_hash = ANY ($1) AND active ORDER BY id FOR UPDATE),
     need AS (SELECT p.id, p.prefix, p.key_hash, count(*) n FROM request JOIN p ON p.key_hash = request.k
              GROUP BY 1, 2, 3),
     q AS (UPDATE bare.partners SET codes_remaining = codes_remaining - need.n FROM need
           WHERE partners.id = need.id AND codes_remaining >= need.n RETURNING partners.id)
INSERT INTO bare.codes (partner_id, code, expires_at)
SELECT need.id, need.prefix || '-' || h, $3
FROM request JOIN need ON need.key_hash = request.k JOIN q ON q.id = need.id RETURNING code
"""
WHOLE = """
WITH request AS (SELECT * FROM unnest($1::bytea[], $2::text[], $4::uuid[]) AS t (k, h, id)),
     locked AS (SELECT k.key_hash, k.a_minute, k.window_started_at, k.window_used, p.id, p.prefix
                FROM bare.keys k JOIN bare.partners p ON p.id = k.partner_id
                WHERE k.key_hash = ANY ($1) AND p.active ORDER BY k.key_hash FOR UPDATE),
     need AS (SELECT l.*, n.n, n.ids, n.codes, e.ledger_id, e.event_id
              FROM locked l
              JOIN (SELECT k, count(*) AS n, array_agg(id) AS ids, array_agg(h) AS codes FROM request GROUP BY k) n
                ON n.k = l.key_hash
              JOIN unnest($5::bytea[], $6::uuid[], $7::uuid[]) AS e (k, ledger_id, event_id) ON e.k = l.key_hash
              WHERE l.window_started_at IS NULL OR l.window_started_at < now() - interval '60 s'
                 OR l.window_used + n.n <= l.a_minute),
     window_ AS (UPDATE bare.keys k SET window_used = CASE WHEN s.fresh THEN s.n ELSE k.window_used + s.n END,
                        window_started_at = CASE WHEN s.fresh THEN now() ELSE k.window_started_at END
                 FROM (SELECT *, coalesce(window_started_at < now() - interval '60 s', true) AS fresh FROM need) s
                 WHERE k.key_hash = s.key_hash),
     q AS (UPDATE bare.partners SET codes_remaining = codes_remaining - need.n FROM need
           WHERE partners.id = need.id AND codes_remaining >= need.n
           RETURNING partners.id, codes_remaining),
     ledger AS (INSERT INTO bare.ledger (id, partner_id, amount, code_ids)
                SELECT ledger_id, id, n, ids FROM need JOIN q USING (id)),
     event AS (INSERT INTO bare.events (id, body)
               SELECT event_id, convert_to(json_build_object('partner_id', id, 'codes', codes, 'code_ids', ids,
                      'expires_at', $3::timestamptz, 'codes_remaining', codes_remaining)::text, 'UTF8')
               FROM need JOIN q USING (id) RETURNING id, body),
     pending AS (INSERT INTO bare.outbox (event_id, leased_until)
                 SELECT event_id, now() + interval '10 s' FROM need JOIN q USING (id)),
     code AS (INSERT INTO bare.whole_codes (id, partner_id, code, expires_at)
              SELECT request.id, need.id, need.prefix || '-' || h, $3
              FROM request JOIN need ON need.key_hash = request.k JOIN q ON q.id = need.id RETURNING code)
SELECT code, NULL::uuid AS id, NULL::bytea AS body FROM code UNION ALL SELECT NULL, id, body FROM event
"""
CLEAR = "DELETE FROM bare.outbox WHERE event_id = ANY ($1)"
LIFETIME = timedelta(hours=48)
GATHER_SECONDS = 0.1


class Minter:
    """Mints; when grouped, requests that arrive during a statement form the next one."""

    def __init__(self, pool: Any, publisher: Publisher | None = None) -> None:
        self.pool = pool
        self.publisher = publisher
        self.events: list[OutboxEvent] = []
        self.waiting: list[tuple[bytes, str, asyncio.Future[str | None]]] = []
        self.wake = asyncio.Event()

    async def one(self, key: bytes, part: str, expires_at: datetime) -> str | None:
        code: str | None = await self.pool.fetchval(ONE, key, part, expires_at)
        return code

    async def grouped(self, key: bytes, part: str, _: datetime) -> str | None:
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.waiting.append((key, part, answer))
        self.wake.set()
        return await answer

    async def work(self) -> None:
        while True:
            await self.wake.wait()
            group, self.waiting = self.waiting[:500], self.waiting[500:]
            if not self.waiting:
                self.wake.clear()
            if group:
                keys, parts, expires_at = [g[0] for g in group], [g[1] for g in group], datetime.now(UTC) + LIFETIME
                if self.publisher is None:
                    rows = await self.pool.fetch(GROUP, keys, parts, expires_at)
                else:
                    rows = await self._whole(keys, parts, expires_at)
                got = {row[0][-16:]: row[0] for row in rows}
                for _, part, answer in group:
                    answer.set_result(got.get(part))

    async def _whole(self, keys: list[bytes], parts: list[str], expires_at: datetime) -> list[Any]:
        distinct = list(dict.fromkeys(keys))
        rows = await self.pool.fetch(
            WHOLE,
            keys,
            parts,
            expires_at,
            [uuid_utils.compat.uuid7() for _ in keys],
            distinct,
            [uuid_utils.compat.uuid7() for _ in distinct],
            [uuid_utils.compat.uuid7() for _ in distinct],
        )
        self.events += [OutboxEvent(row[1], "codes.generated", row[2]) for row in rows if row[1] is not None]
        return [row for row in rows if row[1] is None]

    async def publish(self) -> None:
        """Publish collected events, and clear confirmed ones."""
        assert self.publisher is not None
        while True:
            await asyncio.sleep(GATHER_SECONDS)
            while self.events:
                batch, self.events = self.events[:500], self.events[500:]
                await self.pool.execute(CLEAR, list(await self.publisher.publish_many(batch)))


async def _no_reset(_: Any) -> None:
    return None


async def main(database_url: str, port: int, way: str, amqp_url: str = "") -> None:
    async with contextlib.AsyncExitStack() as exit_:
        publisher = None
        if way == "whole":
            publisher = await exit_.enter_async_context(Publisher(amqp_url, topology.EXCHANGE_CODES))
        await serve(database_url, port, way, publisher)


async def serve(database_url: str, port: int, way: str, publisher: Publisher | None) -> None:
    """Serve until SIGTERM."""
    # As in the product: planning so long a statement each time would cost as much as running it.
    settings = {"plan_cache_mode": "force_generic_plan"} if way == "whole" else {}
    pool = await asyncpg.create_pool(database_url, min_size=8, max_size=8, reset=_no_reset, server_settings=settings)
    minter = Minter(pool, publisher)
    mint = minter.one if way == "one" else minter.grouped
    workers = [asyncio.create_task(minter.work())]
    if publisher is not None:
        workers.append(asyncio.create_task(minter.publish()))

    async def generate(request: web.Request) -> web.Response:
        key = hashlib.sha256(request.headers["X-Partner-Key"].encode()).digest()
        expires_at = datetime.now(UTC) + LIFETIME
        code = await mint(key, secrets.token_hex(8).upper(), expires_at)
        if code is None:
            return web.Response(status=403)
        body = {"ok": True, "code": code, "url": f"https://example.test/?promo={code}", "expires_at": expires_at}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    app = web.Application()
    app.router.add_post("/api/partners/codes/generate", generate)
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
    await pool.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
