"""A bare aiohttp server that mints: key lookup, quota and insert, in one statement per request or per group.

The mode `whole` makes the product's promises: the key is locked with the window of its rate limit and the partner with
its quota, in sorted order; a code has the product's columns and indexes, and leaves a ledger row, an event with an
outbox row, published with a confirm to the product's own exchange, and a row for statistics. A request's body is
checked, and it leaves a log line and two metrics. It has no: Idempotency-Keys, references, choice of a coupon, random
codes again after a collision, events about a low quota, second keys of a partner, accounts, test
mode.

usage: python -m bench.bare.mint DATABASE_URL PORT one|group
       python -m bench.bare.mint DATABASE_URL PORT whole AMQP_URL
"""

import asyncio
import contextlib
import hashlib
import secrets
import signal
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import orjson
import uuid_utils.compat
import uvloop
from aiohttp import web
from prometheus_client import Counter, Histogram

from shared.broker import topology
from shared.broker.publisher import Publisher
from shared.events.envelope import OutboxEvent

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS bare;
DROP TABLE IF EXISTS bare.partners, bare.codes, bare.whole_partners, bare.whole_keys, bare.whole_codes, bare.ledger,
    bare.events, bare.outbox, bare.mint_stats;
CREATE TABLE bare.partners (
    id int PRIMARY KEY, key_hash bytea NOT NULL UNIQUE, prefix text NOT NULL,
    active bool NOT NULL DEFAULT true, codes_remaining bigint NOT NULL);
CREATE TABLE bare.codes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, partner_id int NOT NULL, code text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL, redeemed_at timestamptz);
CREATE TABLE bare.whole_partners (
    id uuid PRIMARY KEY, prefix text NOT NULL, active bool NOT NULL DEFAULT true, codes_remaining bigint NOT NULL);
CREATE TABLE bare.whole_keys (
    id uuid PRIMARY KEY, key_hash bytea NOT NULL UNIQUE, partner_id uuid NOT NULL, scopes text[] NOT NULL,
    a_minute int, window_started_at timestamptz, window_used int NOT NULL DEFAULT 0) WITH (fillfactor = 60);
CREATE TABLE bare.whole_codes (LIKE codes.promotion_codes INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.ledger (LIKE codes.quota_ledger INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.events (LIKE codes.events INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.outbox (LIKE codes.outbox INCLUDING DEFAULTS INCLUDING INDEXES) WITH (fillfactor = 70);
CREATE TABLE bare.mint_stats (LIKE codes.stats_changes INCLUDING DEFAULTS INCLUDING INDEXES);
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
FIND_KEY = "SELECT id, partner_id, scopes FROM bare.whole_keys WHERE key_hash = $1"
# The keys first, then the partners, each in a sorted order.
WHOLE = """
WITH request AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS t (k, id, h)),
     key AS (SELECT k.id, k.partner_id, k.a_minute, k.window_used, k.window_started_at,
                    coalesce(k.window_started_at < now() - interval '60 s', true) AS fresh
             FROM bare.whole_keys k WHERE k.id = ANY ($1) ORDER BY k.id FOR NO KEY UPDATE),
     partner AS (SELECT p.id, p.prefix, p.codes_remaining FROM bare.whole_partners p
                 WHERE p.id IN (SELECT partner_id FROM key) AND p.active ORDER BY p.id FOR NO KEY UPDATE),
     need AS (SELECT k.*, p.prefix, p.codes_remaining - n.n AS remaining, n.n, n.ids, n.codes, e.ledger_id, e.event_id
              FROM key k JOIN partner p ON p.id = k.partner_id
              JOIN (SELECT k, count(*) AS n, array_agg(id) AS ids, array_agg(h) AS codes FROM request GROUP BY k) n
                ON n.k = k.id
              JOIN unnest($4::uuid[], $5::uuid[], $6::uuid[]) AS e (k, ledger_id, event_id) ON e.k = k.id
              WHERE p.codes_remaining >= n.n
                AND (k.a_minute IS NULL OR CASE WHEN fresh THEN 0 ELSE k.window_used END + n.n <= k.a_minute)),
     window_ AS (UPDATE bare.whole_keys k
                 SET window_used = CASE WHEN s.fresh THEN 0 ELSE k.window_used END + s.n,
                     window_started_at = CASE WHEN s.fresh THEN now() ELSE k.window_started_at END
                 FROM need s WHERE k.id = s.id),
     quota AS (UPDATE bare.whole_partners p SET codes_remaining = need.remaining FROM need
               WHERE p.id = need.partner_id),
     code AS (INSERT INTO bare.whole_codes (id, program_id, coupon_id, partner_id, code, canonical, is_auto_generated,
                                            expires_at, redemption_limit, created_by_key_id, created_at, updated_at)
              SELECT r.id, $7, $7, need.partner_id, need.prefix || '-' || h, need.prefix || h, true, $8, 1, need.id,
                     now(), now()
              FROM request r JOIN need ON need.id = r.k RETURNING id, program_id, coupon_id, partner_id, code),
     stats AS (INSERT INTO bare.mint_stats (program_id, quarter, partner_id, coupon_id, minted, redeemed)
               SELECT program_id, date_bin('15 minutes', now(), 'epoch'), partner_id, coupon_id, count(*), 0
               FROM code GROUP BY 1, 3, 4),
     ledger AS (INSERT INTO bare.ledger (id, partner_id, kind, amount, code_ids, actor, created_at)
                SELECT ledger_id, partner_id, 'mint', n, ids, 'key ' || id, now() FROM need),
     event AS (INSERT INTO bare.events (id, type, body)
               SELECT event_id, 'codes.generated', convert_to(json_build_object(
                   'specversion', '1.0', 'id', event_id, 'source', '/bare', 'type', 'codes.generated', 'time', now(),
                   'datacontenttype', 'application/json', 'dataschema', 'urn:bare:event:codes.generated:1',
                   'data', json_build_object('program_id', $7::uuid, 'partner_id', partner_id, 'coupon_id', $7::uuid,
                       'codes', codes, 'code_ids', ids, 'expires_at', $8::timestamptz, 'codes_remaining', remaining)
                   )::text, 'UTF8')
               FROM need RETURNING id, body),
     pending AS (INSERT INTO bare.outbox (event_id, leased_until) SELECT event_id, now() + interval '10 s' FROM need)
SELECT code, NULL::uuid AS id, NULL::bytea AS body, NULL::int AS a_minute, NULL::bigint AS used, NULL::int AS resets
FROM code
UNION ALL SELECT NULL, id, body, NULL, NULL, NULL FROM event
UNION ALL SELECT NULL, id, NULL, a_minute, CASE WHEN fresh THEN 0 ELSE window_used END + n,
                 60 - CASE WHEN fresh THEN 0 ELSE extract(epoch FROM now() - window_started_at)::int END FROM need
"""
CLEAR = "DELETE FROM bare.outbox WHERE event_id = ANY ($1)"
LIFETIME = timedelta(hours=48)
PROGRAM = uuid.UUID("0190a000-0000-7000-8000-000000000001")
KNOWN_SECONDS = 5.0
REQUESTS = Counter("bare_mint_requests", "Requests", ["status"])
SECONDS = Histogram("bare_mint_seconds", "Seconds")
GATHER_SECONDS = 0.1


class Minter:
    """Mints; when grouped, requests that arrive during a statement form the next one."""

    def __init__(self, pool: Any, publisher: Publisher | None = None) -> None:
        self.pool = pool
        self.publisher = publisher
        self.events: list[OutboxEvent] = []
        self.waiting: list[tuple[Any, str, asyncio.Future[Any]]] = []
        self.wake = asyncio.Event()
        self.known: dict[bytes, tuple[float, Any]] = {}

    async def one(self, key: bytes, part: str, expires_at: datetime) -> str | None:
        code: str | None = await self.pool.fetchval(ONE, key, part, expires_at)
        return code

    async def grouped(self, key: Any, part: str, _: datetime) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((key, part, answer))
        self.wake.set()
        return await answer

    async def recognise(self, key_hash: bytes) -> Any:
        """Return the row of a key, which may be five seconds old; None without one that may mint."""
        since, key = self.known.get(key_hash, (0.0, None))
        if time.monotonic() - since > KNOWN_SECONDS:
            key = await self.pool.fetchrow(FIND_KEY, key_hash)
            if key is not None:
                self.known[key_hash] = time.monotonic(), key
        return key if key is not None and "codes:generate" in key["scopes"] else None

    async def work(self) -> None:
        while True:
            await self.wake.wait()
            group, self.waiting = self.waiting[:500], self.waiting[500:]
            if not self.waiting:
                self.wake.clear()
            if group:
                keys, parts, expires_at = [g[0] for g in group], [g[1] for g in group], datetime.now(UTC) + LIFETIME
                if self.publisher is not None:
                    got = await self._whole(keys, parts, expires_at)
                else:
                    rows = await self.pool.fetch(GROUP, keys, parts, expires_at)
                    got = {row[0][-16:]: row[0] for row in rows}
                for _, part, answer in group:
                    answer.set_result(got.get(part))

    async def _whole(self, keys: list[Any], parts: list[str], expires_at: datetime) -> dict[str, Any]:
        """Return the code of each part, with the rate limit of its key."""
        ids = [key["id"] for key in keys]
        distinct = list(dict.fromkeys(ids))
        rows = await self.pool.fetch(
            WHOLE,
            ids,
            [uuid_utils.compat.uuid7() for _ in keys],
            parts,
            distinct,
            [uuid_utils.compat.uuid7() for _ in distinct],
            [uuid_utils.compat.uuid7() for _ in distinct],
            PROGRAM,
            expires_at,
        )
        codes = {row["code"][-16:]: row["code"] for row in rows if row["code"] is not None}
        self.events += [
            OutboxEvent(row["id"], "codes.generated", row["body"]) for row in rows if row["body"] is not None
        ]
        windows = {row["id"]: row for row in rows if row["used"] is not None}
        return {part: (codes[part], windows[id_]) for id_, part in zip(ids, parts, strict=True) if part in codes}

    async def publish(self) -> None:
        """Publish collected events, and clear confirmed ones."""
        assert self.publisher is not None
        while True:
            await asyncio.sleep(GATHER_SECONDS)
            while self.events:
                batch, self.events = self.events[:500], self.events[500:]
                await self.pool.execute(CLEAR, list(await self.publisher.publish_many(batch)))


def _body(code: str, expires_at: datetime) -> bytes:
    body = {"ok": True, "code": code, "url": f"https://example.test/?promo={code}", "expires_at": expires_at}
    return orjson.dumps(body)


async def generate_whole(minter: Minter, request: web.Request) -> web.Response:
    """Mint one code; every outcome leaves a log line and its metrics."""
    started, request_id = time.perf_counter(), str(uuid_utils.compat.uuid7())
    key = await minter.recognise(hashlib.sha256(request.headers.get("X-Partner-Key", "").encode()).digest())
    status, body, limits = 401, b'{"ok":false}', {}
    if key is not None and await request.read() not in (b"", b"{}"):
        status = 422
    elif key is not None:
        expires_at = datetime.now(UTC) + LIFETIME
        made: Any = await minter.grouped(key, secrets.token_hex(8).upper(), expires_at)
        status = 403
        if made is not None:
            code, window = made
            status, body = 200, _body(code, expires_at)
            if (limit := window["a_minute"]) is not None:
                limits["RateLimit-Policy"] = f'"default";q={limit};w=60'
                limits["RateLimit"] = f'"default";r={limit - window["used"]};t={window["resets"]}'
    spent = time.perf_counter() - started
    SECONDS.observe(spent)
    REQUESTS.labels(status).inc()
    facts = {"method": "POST", "route": request.path, "status": status, "duration_ms": round(spent * 1000, 2)}
    who = {"request_id": request_id, "key_id": key and str(key["id"])}
    line = {**facts, **who, "event": "http_request", "level": "info", "timestamp": datetime.now(UTC)}
    sys.stderr.buffer.write(orjson.dumps(line) + b"\n")
    headers = {
        "X-Request-Id": request_id,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        **limits,
    }
    return web.Response(status=status, body=body, headers={**headers, "Content-Type": "application/json"})


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
    settings = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"} if way == "whole" else {}
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
        return web.Response(body=_body(code, expires_at), content_type="application/json")

    app = web.Application()
    app.router.add_post(
        "/api/partners/codes/generate", generate if publisher is None else partial(generate_whole, minter)
    )
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
