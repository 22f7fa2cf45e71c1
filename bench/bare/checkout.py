"""A bare aiohttp server that redeems, holds, validates and voids, in groups: requests that arrive meanwhile share one.

It does the work of the product with the same libraries, without its rules: a key is recognised, an order's and a code's
row are locked, the terms are read in a new statement, and the outcome is written with its event, which is published
with a confirm. Its tables have the product's columns and indexes, and its events and responses the product's members,
since all of them are promised. It shows the cost of the work itself.

usage: python -m bench.bare.checkout DATABASE_URL PORT AMQP_URL
"""

import asyncio
import hashlib
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

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
DROP TABLE IF EXISTS bare.shop_keys, bare.shop_codes, bare.shop_counters, bare.shop_orders, bare.shop_redemptions,
    bare.shop_holds, bare.shop_events, bare.shop_outbox;
CREATE TABLE bare.shop_keys (key_hash bytea PRIMARY KEY);
CREATE TABLE bare.shop_codes (
    code text PRIMARY KEY, id uuid NOT NULL, expires_at timestamptz NOT NULL, percent int NOT NULL,
    use_limit int NOT NULL);
CREATE TABLE bare.shop_counters (LIKE redemption.code_counters INCLUDING DEFAULTS INCLUDING INDEXES)
    WITH (fillfactor = 60);
CREATE TABLE bare.shop_orders (LIKE redemption.orders INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_redemptions (LIKE redemption.redemptions INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_holds (LIKE redemption.holds INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_events (LIKE redemption.events INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_outbox (LIKE redemption.outbox INCLUDING DEFAULTS INCLUDING INDEXES);
"""
FIND_KEY = "SELECT 1 FROM bare.shop_keys WHERE key_hash = $1"
LOCK = """
WITH o AS (INSERT INTO bare.shop_orders (program_id, order_ref, created_at)
           SELECT $1, ref, now() FROM unnest($2::text[]) AS o (ref) ORDER BY ref
           ON CONFLICT (program_id, order_ref) DO UPDATE SET created_at = shop_orders.created_at WHERE false
           RETURNING 1)
INSERT INTO bare.shop_counters (code_id)
SELECT c.id FROM bare.shop_codes c WHERE c.code = ANY ($3) AND (SELECT count(*) FROM o) >= 0 ORDER BY c.id
ON CONFLICT (code_id) DO UPDATE SET uses = shop_counters.uses WHERE false
"""
READ = """
SELECT c.code, c.id, c.expires_at, c.percent, c.expires_at > now() AND coalesce(n.uses, 0) < c.use_limit AS is_good,
       CASE WHEN n.held_until > now() THEN (
           SELECT count(*) FROM bare.shop_holds h WHERE h.code_id = c.id AND h.expires_at > now()) ELSE 0 END AS held
FROM unnest($1::text[]) AS w (code) JOIN bare.shop_codes c USING (code)
LEFT JOIN bare.shop_counters n ON n.code_id = c.id
"""
REDEEM = """
WITH r AS (INSERT INTO bare.shop_redemptions (
               id, order_ref, canonical, code, code_id, discount_minor, percent_hundredths, release_until, terms,
               occurred_at, confirmed_at, decided_at, program_id, coupon_id, discount_type, currency, subtotal_minor,
               release_policy, is_counted, clock, is_mailbox_kept)
           SELECT r.*, now(), now(), now(), $8, $8, 'percent', 'USD', 5000, 'until_expiry', true, 'api', true
           FROM unnest($1::uuid[], $2::text[], $3::text[], $3::text[], $4::uuid[], $5::bigint[], $6::int[],
                       $7::timestamptz[], $12::json[]) AS r),
     event AS (INSERT INTO bare.shop_events (id, type, body)
               SELECT e.id, $9, e.body FROM unnest($10::uuid[], $11::bytea[]) AS e (id, body)),
     pending AS (INSERT INTO bare.shop_outbox (event_id, leased_until)
                 SELECT id, now() + interval '10 s' FROM unnest($10::uuid[]) AS e (id))
UPDATE bare.shop_counters SET uses = uses + 1, version = version + 1, use_limit = 1 WHERE code_id = ANY ($4)
"""
HOLD = """
WITH h AS (INSERT INTO bare.shop_holds (
               order_ref, canonical, code, code_id, discount_minor, program_id, coupon_id, currency, expires_at)
           SELECT h.*, $6, $6, 'USD', now() + interval '15 min'
           FROM unnest($2::text[], $3::text[], $3::text[], $4::uuid[], $5::bigint[]) AS h),
     o AS (UPDATE bare.shop_orders o
           SET reservation_id = u.id, reserved_at = now(), reserved_until = now() + interval '15 min',
               touched_at = now()
           FROM unnest($1::uuid[], $2::text[]) AS u (id, ref) WHERE o.program_id = $6 AND o.order_ref = u.ref)
UPDATE bare.shop_counters SET held_until = now() + interval '15 min' WHERE code_id = ANY ($4)
"""
FIND = "SELECT id, order_ref, code FROM bare.shop_redemptions WHERE id = ANY ($1)"
READ_REDEEMED = """
SELECT id, order_ref, code, code_id, discount_minor, percent_hundredths, release_until, occurred_at, currency, terms
FROM bare.shop_redemptions WHERE id = ANY ($1)
"""
VOID = """
WITH r AS (UPDATE bare.shop_redemptions
           SET voided_at = now(), void_reason = 'fraud', is_counted = false, confirmed_at = now(), purchases = '[]'
           WHERE id = ANY ($1::uuid[])),
     event AS (INSERT INTO bare.shop_events (id, type, body)
               SELECT e.id, $3, e.body FROM unnest($4::uuid[], $5::bytea[]) AS e (id, body)),
     pending AS (INSERT INTO bare.shop_outbox (event_id, leased_until)
                 SELECT id, now() + interval '10 s' FROM unnest($4::uuid[]) AS e (id))
UPDATE bare.shop_counters SET uses = uses - 1, version = version + 1 WHERE code_id = ANY ($2)
"""
CLEAR = "DELETE FROM bare.shop_outbox WHERE event_id = ANY ($1)"
GATHER_SECONDS = 0.25
PROGRAM = COUPON = uuid.UUID("0190a000-0000-7000-8000-000000000001")
SUBTOTAL = 5000
HOLD_FOR = timedelta(minutes=15)


class Ask(NamedTuple):
    """What one request wants, and the id of what it makes or takes back."""

    kind: str
    id: uuid.UUID
    order_ref: str
    code: str


class Shop:
    """Processes waiting requests, kind by kind, one transaction after the other."""

    def __init__(self, pool: Any, publisher: Publisher) -> None:
        self.pool, self.publisher = pool, publisher
        self.waiting: list[tuple[Ask, asyncio.Future[Any]]] = []
        self.wake = asyncio.Event()
        self.events: list[OutboxEvent] = []
        self.to_publish = asyncio.Event()
        self.confirmed: list[uuid.UUID] = []

    async def ask(self, ask: Ask) -> Any:
        """Return what the answer shows, or None if the code is no good."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((ask, answer))
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
                    shown = await self._decide(connection, [ask for ask, _ in group], made)
                self.events += made
                self.to_publish.set()
                for ask, answer in group:
                    answer.set_result(shown.get(ask.id))

    async def _decide(self, connection: Any, asks: Sequence[Ask], made: list[OutboxEvent]) -> dict[uuid.UUID, Any]:
        if voids := [ask.id for ask in asks if ask.kind == "void"]:
            found = {row["id"]: row for row in await connection.fetch(FIND, voids)}
            asks = [
                ask._replace(order_ref=found[ask.id]["order_ref"], code=found[ask.id]["code"])
                if ask.kind == "void"
                else ask
                for ask in asks
            ]
        codes = [ask.code for ask in asks]
        await connection.execute(LOCK, PROGRAM, sorted({ask.order_ref for ask in asks}), codes)
        rows = {row["code"]: row for row in await connection.fetch(READ, codes)}
        chosen = [ask for ask in asks if ask.kind == "void" or (ask.code in rows and rows[ask.code]["is_good"])]
        shown: dict[uuid.UUID, Any] = {}
        for kind, write in (("redeem", self._redeem), ("hold", self._hold), ("void", self._void)):
            if of_kind := [ask for ask in chosen if ask.kind == kind]:
                shown |= await write(connection, of_kind, rows, made)
        return shown

    async def _redeem(self, connection: Any, asks: Sequence[Ask], rows: Any, made: list[OutboxEvent]) -> dict[Any, Any]:
        now, codes = datetime.now(UTC), [rows[ask.code] for ask in asks]
        terms = [_terms(code) for code in codes]
        shown = {ask.id: _redemption(ask, code, each, now) for ask, code, each in zip(asks, codes, terms, strict=True)}
        events = [_event("code.redeemed", shown[ask.id], {"times_redeemed": 1, "order": None}) for ask in asks]
        made += events
        await connection.execute(
            REDEEM,
            [ask.id for ask in asks],
            [ask.order_ref for ask in asks],
            [ask.code for ask in asks],
            [code["id"] for code in codes],
            [SUBTOTAL * code["percent"] // 10_000 for code in codes],
            [code["percent"] for code in codes],
            [code["expires_at"] for code in codes],
            PROGRAM,
            "code.redeemed",
            [event.id for event in events],
            [event.body for event in events],
            [orjson.dumps(each).decode() for each in terms],
        )
        return {ask.id: {"order_ref": ask.order_ref, "redemptions": [shown[ask.id]], "notice": None} for ask in asks}

    async def _hold(self, connection: Any, asks: Sequence[Ask], rows: Any, _: list[OutboxEvent]) -> dict[Any, Any]:
        now, codes = datetime.now(UTC), [rows[ask.code] for ask in asks]
        discounts = [SUBTOTAL * code["percent"] // 10_000 for code in codes]
        await connection.execute(
            HOLD,
            [ask.id for ask in asks],
            [ask.order_ref for ask in asks],
            [ask.code for ask in asks],
            [code["id"] for code in codes],
            discounts,
            PROGRAM,
        )
        return {
            ask.id: {
                "id": ask.id,
                "order_ref": ask.order_ref,
                "status": "live",
                "codes": [
                    {
                        "code": ask.code,
                        "code_id": str(code["id"]),
                        "coupon_id": COUPON,
                        "discount_minor": discount,
                        "currency": "USD",
                        "lines": None,
                    }
                ],
                "reserved_at": now,
                "expires_at": now + HOLD_FOR,
                "is_test": False,
            }
            for ask, code, discount in zip(asks, codes, discounts, strict=True)
        }

    async def _void(self, connection: Any, asks: Sequence[Ask], rows: Any, made: list[OutboxEvent]) -> dict[Any, Any]:
        now = datetime.now(UTC)
        found = {row["id"]: row for row in await connection.fetch(READ_REDEEMED, [ask.id for ask in asks])}
        shown = {}
        for ask in asks:
            row = found[ask.id]
            shown[ask.id] = _redemption(ask, rows[ask.code], orjson.loads(row["terms"]), row["occurred_at"], now)
        events = [_event("code.redemption_voided", shown[ask.id], {"is_released": True}) for ask in asks]
        made += events
        await connection.execute(
            VOID,
            [ask.id for ask in asks],
            [rows[ask.code]["id"] for ask in asks],
            "code.redemption_voided",
            [event.id for event in events],
            [event.body for event in events],
        )
        return shown

    async def publish(self) -> None:
        """Publish committed events at once, because partners wait for them."""
        while True:
            self.to_publish.clear()
            if not self.events:
                await self.to_publish.wait()
            batch, self.events = self.events[:500], self.events[500:]
            self.confirmed += await self.publisher.publish_many(batch)

    async def clear(self) -> None:
        """Clear confirmed events."""
        while True:
            await asyncio.sleep(GATHER_SECONDS)
            if self.confirmed:
                ids, self.confirmed = self.confirmed, []
                await self.pool.execute(CLEAR, ids)


def _terms(code: Any) -> dict[str, Any]:
    return {
        "coupon_uuid_code": "bare",
        "coupon_name": "Bare",
        "duration_type": "once",
        "duration_value": None,
        "starts_at": None,
        "expires_at": code["expires_at"],
        "redemption_limit": 1,
        "coupon_starts_at": None,
        "coupon_expires_at": None,
        "coupon_redemption_limit": None,
    }


def _discount(percent: int) -> dict[str, Any]:
    return {
        "type": "percent",
        "percent_hundredths": percent,
        "amount_minor": None,
        "currency": "USD",
        "applied_minor": SUBTOTAL * percent // 10_000,
        "lines": None,
    }


def _redemption(
    ask: Ask, code: Any, terms: dict[str, Any], occurred_at: datetime, voided_at: datetime | None = None
) -> dict[str, Any]:
    return {
        "id": ask.id,
        "status": "redeemed" if voided_at is None else "voided",
        "code": ask.code,
        "code_id": str(code["id"]),
        "coupon_id": COUPON,
        "partner_id": None,
        "order_ref": ask.order_ref,
        "customer_id": None,
        "discount": _discount(code["percent"]),
        "discount_ends_at": None,
        "commission": None,
        "occurred_at": occurred_at,
        "voided_at": voided_at,
        "void_reason": None if voided_at is None else "fraud",
        "is_counted": voided_at is None,
        "is_self_referral": False,
        "terms": terms,
        "is_test": False,
    }


def _event(type_: str, shown: dict[str, Any], counts: dict[str, Any]) -> OutboxEvent:
    id_ = uuid_utils.compat.uuid7()
    data = {**shown, "program_id": PROGRAM, "times_redeemed_version": 1, "attributes": {}, **counts}
    body = {
        "specversion": "1.0",
        "id": id_,
        "source": "/bare",
        "type": type_,
        "time": shown["occurred_at"],
        "datacontenttype": "application/json",
        "dataschema": f"urn:bare:{type_}",
        "data": data,
    }
    return OutboxEvent(id_, type_, orjson.dumps(body))


Handler = Callable[[web.Request], Awaitable[web.Response]]


def routes(shop: Shop, known: set[bytes]) -> list[web.RouteDef]:
    """Return the four routes; each recognises the key, parses the body and responds with JSON."""

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
            shown = await shop.ask(Ask(kind, uuid_utils.compat.uuid7(), body["order_ref"], body["codes"][0]))
            return answer(409, {}) if shown is None else answer(201, shown)

        return handle

    async def validate(request: web.Request) -> web.Response:
        await recognise(request)
        body = orjson.loads(await request.read())
        rows = {row["code"]: row for row in await shop.pool.fetch(READ, body["codes"])}
        return answer(200, _verdicts(body["codes"], rows))

    async def void(request: web.Request) -> web.Response:
        await recognise(request)
        await request.read()
        return answer(200, await shop.ask(Ask("void", uuid.UUID(request.match_info["id"]), "", "")))

    return [
        web.post("/v1/redemptions", asking("redeem")),
        web.post("/v1/reservations", asking("hold")),
        web.post("/v1/validations", validate),
        web.post("/v1/redemptions/{id}/void", void),
    ]


def _verdicts(codes: Sequence[str], rows: Any) -> dict[str, Any]:
    verdicts = [
        {
            "code": code,
            "valid": code in rows and rows[code]["is_good"] and not rows[code]["held"],
            "reason": None,
            "detail": None,
            "blocked_by": None,
            "code_id": str(rows[code]["id"]) if code in rows else None,
            "coupon_id": COUPON,
            "partner_id": None,
            "discount": _discount(rows[code]["percent"]) if code in rows else None,
        }
        for code in codes
    ]
    order = {"currency": "USD", "subtotal": SUBTOTAL, "discount": 0, "total": SUBTOTAL}
    is_valid = all(verdict["valid"] for verdict in verdicts)
    return {"valid": is_valid, "codes": verdicts, "order": order, "are_histories_counted": True}


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
        workers = [asyncio.create_task(part) for part in (shop.work(), shop.publish(), shop.clear())]
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
            if worker.done():
                worker.result()
            worker.cancel()
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
