"""A bare aiohttp server that mints: key lookup, quota and insert, in one statement per request or per group.

usage: python -m bench.bare.mint DATABASE_URL PORT one|group
"""

import asyncio
import hashlib
import secrets
import signal
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import uvloop
from aiohttp import web

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS bare;
DROP TABLE IF EXISTS bare.partners, bare.codes;
CREATE TABLE bare.partners (
    id int PRIMARY KEY, key_hash bytea NOT NULL UNIQUE, prefix text NOT NULL,
    active bool NOT NULL DEFAULT true, codes_remaining bigint NOT NULL);
CREATE TABLE bare.codes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, partner_id int NOT NULL, code text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL, redeemed_at timestamptz);
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
LIFETIME = timedelta(hours=48)


class Minter:
    """Mints; grouped, whatever arrives while a statement is out forms the next one."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
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
                rows = await self.pool.fetch(
                    GROUP, [g[0] for g in group], [g[1] for g in group], datetime.now(UTC) + LIFETIME
                )
                got = {row[0][-16:]: row[0] for row in rows}
                for _, part, answer in group:
                    answer.set_result(got.get(part))


async def _no_reset(_: Any) -> None:
    return None


async def main(database_url: str, port: int, way: str) -> None:
    pool = await asyncpg.create_pool(database_url, min_size=8, max_size=8, reset=_no_reset)
    minter = Minter(pool)
    mint = minter.grouped if way == "group" else minter.one
    worker = asyncio.create_task(minter.work())

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
    print("ready", flush=True)
    await stop.wait()
    worker.cancel()
    await runner.cleanup()
    await pool.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
