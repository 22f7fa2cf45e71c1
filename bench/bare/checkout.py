"""A bare aiohttp server that redeems, holds, validates and voids, in groups: requests that arrive meanwhile share one.

It does the work of the product with the same libraries, without its framework: a key is recognised with its scopes, the
body is checked member by member, the decision is that of `bench.bare.shop`, and committed events are published with a
confirm. An Idempotency-Key is claimed by a try-lock and its answer stored in the transaction of the group. Each request
leaves a log line and two metrics, and its response has the product's members and headers.

It has no: accounts, publishable keys, test mode, refusals as problem documents, and only POST requests.

usage: python -m bench.bare.checkout DATABASE_URL PORT AMQP_URL
"""

import asyncio
import hashlib
import json
import re
import signal
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import asyncpg
import orjson
import uuid_utils.compat
import uvloop
from aiohttp import web
from prometheus_client import Counter, Histogram

from bench.bare import shop_sql as sql
from bench.bare.outbox import Outbox
from bench.bare.shop import Ask, decide, verdicts, wanted_codes
from shared.broker import topology
from shared.broker.publisher import Publisher
from shared.events.envelope import OutboxEvent

KNOWN_SECONDS = 5.0
MOST_BYTES = 64 * 1024
MOST_SECONDS = 7 * 24 * 3600
REQUESTS = Counter("bare_requests", "Requests", ["route", "status"])
SECONDS = Histogram("bare_seconds", "Seconds", ["route"])
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_MEMBERS = {
    "/v1/redemptions": {"codes", "order_ref", "customer", "order", "reservation_id", "occurred_at", "attributes"},
    "/v1/reservations": {"codes", "order_ref", "ttl_seconds", "customer", "order"},
    "/v1/validations": {"codes", "order_ref", "customer", "order"},
}
Member = tuple[Ask, "asyncio.Future[tuple[int, bytes]]"]


class Shop:
    """Processes waiting requests, one transaction after the other."""

    def __init__(self, pool: Any, publisher: Publisher) -> None:
        self.pool, self.outbox = pool, Outbox(pool, publisher)
        self.waiting: list[Member] = []
        self.wake = asyncio.Event()

    async def ask(self, ask: Ask) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.waiting.append((ask, answer))
        self.wake.set()
        return await answer

    async def work(self) -> None:
        async with self.pool.acquire() as connection:
            while True:
                await self.wake.wait()
                group, self.waiting = self.waiting[:250], self.waiting[250:]
                if not self.waiting:
                    self.wake.clear()
                if not group:
                    continue
                async with connection.transaction():
                    answers, events = await self._answer(connection, [ask for ask, _ in group])
                if events:
                    self.outbox.add(events)
                for (_, waits), answer in zip(group, answers, strict=True):
                    waits.set_result(answer)

    async def _answer(
        self, connection: Any, asks: Sequence[Ask]
    ) -> tuple[list[tuple[int, bytes]], Sequence[OutboxEvent]]:
        kept = await _claim(connection, asks)
        fresh = [place for place in range(len(asks)) if place not in kept]
        decided, events = await decide(connection, [asks[place] for place in fresh])
        for place, (status, data) in zip(fresh, decided, strict=True):
            kept[place] = status, _body(data)
        if keep := [place for place in fresh if asks[place].keyed and kept[place][0] < 400]:
            await _keep(connection, [asks[place] for place in keep], [kept[place] for place in keep])
        return [kept[place] for place in range(len(asks))], events


async def _claim(connection: Any, asks: Sequence[Ask]) -> dict[int, tuple[int, bytes]]:
    """Lock the keys of requests; return the answers of those that are not to be decided now."""
    keyed = [(place, ask, ask.keyed) for place, ask in enumerate(asks) if ask.keyed is not None]
    if not keyed:
        return {}
    locks = [_lock_id(ask, route, key) for _, ask, (route, key, _) in keyed]
    ours = {row["nth"] - 1 for row in await connection.fetch(sql.TRY_KEYS, locks) if row["is_ours"]}
    columns = [[ask.program_id for _, ask, _ in keyed], [k[0] for _, _, k in keyed], [k[1] for _, _, k in keyed]]
    found = {row["nth"] - 1: row for row in await connection.fetch(sql.FIND_ANSWERS, *columns)}
    answers: dict[int, tuple[int, bytes]] = {}
    seen: set[int] = set()
    for nth, (place, _, (_, _, digest)) in enumerate(keyed):
        if nth not in ours or locks[nth] in seen:
            answers[place] = 409, b'{"code":"idempotency_in_progress"}'
        elif (row := found.get(nth)) is not None:
            is_same = row["request_sha256"] == digest
            answers[place] = (row["status"], row["body"]) if is_same else (422, b'{"code":"idempotency_key_reused"}')
        seen.add(locks[nth])
    return answers


async def _keep(connection: Any, asks: Sequence[Ask], answers: Sequence[tuple[int, bytes]]) -> None:
    keys = [ask.keyed or ("", "", b"") for ask in asks]
    columns = [[ask.program_id for ask in asks], *([key[place] for key in keys] for place in range(3))]
    await connection.execute(sql.KEEP_ANSWERS, *columns, [each[0] for each in answers], [each[1] for each in answers])


def _lock_id(ask: Ask, route: str, key: str) -> int:
    named = b"\x00".join((ask.program_id.hex.encode(), route.encode(), key.encode()))
    return int.from_bytes(hashlib.sha256(named).digest()[:8], "big", signed=True)


def _body(data: Any) -> bytes:
    return orjson.dumps({"data": data}, option=orjson.OPT_UTC_Z)


class Refused(Exception):
    """The request is refused with this status and code."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Refused(400, "duplicate_key")
    return made


def _no_constant(_: str) -> NoReturn:
    raise Refused(400, "not_finite")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_constant)


def decoded(raw: bytes) -> dict[str, Any]:
    """Return the members of a JSON object, read strictly; raises Refused."""
    try:
        text = raw.decode()
        body = _DECODER.decode(text)
    except ValueError:
        raise Refused(400, "invalid_json") from None
    if "\\u0000" in text or not isinstance(body, dict):
        raise Refused(422, "invalid_body")
    return body


def order_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return the order of a body, each member checked; raises Refused."""
    codes, order, customer = body.get("codes"), body.get("order") or {}, body.get("customer")
    if not isinstance(codes, list) or not 1 <= len(codes) <= 10 or not all(isinstance(code, str) for code in codes):
        raise Refused(422, "codes")
    if not isinstance(order, dict) or order.keys() - {"currency", "subtotal", "items"}:
        raise Refused(422, "order")
    reference = body.get("order_ref", "")
    if not isinstance(reference, str) or len(reference) > 255 or ("order_ref" in body and not reference.strip()):
        raise Refused(422, "order_ref")
    currency, subtotal, items = order.get("currency"), order.get("subtotal"), order.get("items")
    if currency is not None and (not isinstance(currency, str) or not _CURRENCY.fullmatch(currency)):
        raise Refused(422, "order.currency")
    _check_amount(subtotal, "order.subtotal")
    if type(seconds := body.get("ttl_seconds", 900)) is not int or not 1 <= seconds <= MOST_SECONDS:
        raise Refused(422, "ttl_seconds")
    if customer is not None and (not isinstance(customer, dict) or customer.keys() - {"id", "email", "is_first_order"}):
        raise Refused(422, "customer")
    lines = None if items is None else [_line(item) for item in items]
    return {
        "order_ref": reference,
        "codes": wanted_codes(codes),
        "currency": currency,
        "subtotal": subtotal,
        "lines": lines,
        "customer": customer,
        "ttl_seconds": seconds,
        "attributes": body.get("attributes"),
        "given": {"currency": currency, "subtotal": subtotal, "items": items} if order else None,
    }


def _order(raw: bytes, path: str) -> dict[str, Any]:
    body = decoded(raw)
    if body.keys() - _MEMBERS[path]:
        raise Refused(422, "unknown_member")
    return order_of(body)


def _line(item: Any) -> tuple[str | None, int | None]:
    if not isinstance(item, dict):
        raise Refused(422, "order.items")
    product, amount = item.get("product_id"), item.get("amount")
    if product is not None and not isinstance(product, str):
        raise Refused(422, "order.items.product_id")
    _check_amount(amount, "order.items.amount")
    return product, amount


def _check_amount(amount: Any, name: str) -> None:
    if amount is not None and (type(amount) is not int or not 0 <= amount < 2**53):
        raise Refused(422, name)


Handler = Callable[[web.Request], Awaitable[web.Response]]


class Doors:
    """The routes: each recognises the key, checks the body and leaves a log line and its metrics."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.known: dict[bytes, tuple[float, Any]] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the four routes."""
        return [
            self._route("/v1/redemptions", self._asking("redeem", "/v1/redemptions")),
            self._route("/v1/reservations", self._asking("hold", "/v1/reservations")),
            self._route("/v1/validations", self._validate),
            self._route("/v1/redemptions/{id}/void", self._void),
        ]

    def _route(self, path: str, handle: Callable[[web.Request, Any], Awaitable[tuple[int, bytes]]]) -> web.RouteDef:
        seconds = SECONDS.labels(path)

        async def serve(request: web.Request) -> web.Response:
            started = time.perf_counter()
            given = request.headers.get("X-Request-Id", "")
            request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid_utils.compat.uuid7())
            key: Any = None
            try:
                key = await self._recognise(request)
                status, body = await handle(request, key)
            except Refused as refused:
                status, body = refused.args[0], orjson.dumps({"code": refused.args[1]})
            spent = time.perf_counter() - started
            seconds.observe(spent)
            REQUESTS.labels(path, status).inc()
            facts = {"method": request.method, "route": path, "status": status, "duration_ms": round(spent * 1000, 2)}
            who = {"request_id": request_id, "key_id": key and str(key["id"])}
            line = {**facts, **who, "event": "http_request", "level": "info", "timestamp": datetime.now(UTC)}
            sys.stderr.buffer.write(orjson.dumps(line) + b"\n")
            headers = {"X-Request-Id": request_id, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
            return web.Response(status=status, body=body, headers={**headers, "Content-Type": "application/json"})

        return web.post(path, serve)

    async def _recognise(self, request: web.Request) -> Any:
        """Return the row of the key, which may be five seconds old; 401 or 403 without one that may check out."""
        digest = hashlib.sha256(request.headers.get("Authorization", "").encode()).digest()
        since, key = self.known.get(digest, (0.0, None))
        if time.monotonic() - since > KNOWN_SECONDS:
            key = await self.shop.pool.fetchrow(sql.FIND_KEY, digest)
            if key is None:
                raise Refused(401, "invalid_api_key")
            self.known[digest] = time.monotonic(), key
        if "checkout" not in key["scopes"]:
            raise Refused(403, "scope_missing")
        return key

    def _asking(self, kind: str, path: str) -> Callable[[web.Request, Any], Awaitable[tuple[int, bytes]]]:
        async def handle(request: web.Request, key: Any) -> tuple[int, bytes]:
            raw = await _read(request)
            order = _order(raw, path)
            keyed = _keyed(request, path, raw)
            return await self.shop.ask(
                Ask(kind, uuid_utils.compat.uuid7(), key["program_id"], order, datetime.now(UTC), keyed=keyed)
            )

        return handle

    async def _validate(self, request: web.Request, key: Any) -> tuple[int, bytes]:
        order = _order(await _read(request), "/v1/validations")
        codes = list(order["codes"])
        rows = await self.shop.pool.fetch(sql.READ, [key["program_id"]] * len(codes), codes)
        return 200, _body(verdicts(order, rows, key["program_id"]))

    async def _void(self, request: web.Request, key: Any) -> tuple[int, bytes]:
        raw = await _read(request)
        body = decoded(raw or b"{}")
        try:
            id_ = uuid.UUID(request.match_info["id"])
        except ValueError:
            raise Refused(404, "not_found") from None
        if body.keys() - {"reason", "release"}:
            raise Refused(422, "invalid_body")
        reason = body.get("reason")
        if reason is not None and (not isinstance(reason, str) or not 1 <= len(reason) <= 255):
            raise Refused(422, "reason")
        order = {"id": id_, "reason": reason, "release": body.get("release"), "customer": None}
        keyed = _keyed(request, f"/v1/redemptions/{id_}/void", raw)
        ask = Ask("void", uuid_utils.compat.uuid7(), key["program_id"], order, datetime.now(UTC), keyed=keyed)
        return await self.shop.ask(ask)


async def _read(request: web.Request) -> bytes:
    if (request.content_length or 0) > MOST_BYTES:
        raise Refused(413, "too_large")
    if request.headers.get("Content-Type", "").partition(";")[0] != "application/json":
        raise Refused(415, "unsupported_media_type")
    return await request.read()


def _keyed(request: web.Request, route: str, raw: bytes) -> tuple[str, str, bytes] | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Refused(400, "invalid_idempotency_key")
    return route, key, hashlib.sha256(route.encode() + b"\x00" + raw).digest()


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
        workers = [asyncio.create_task(part) for part in (shop.work(), shop.outbox.publish(), shop.outbox.clear())]
        app = web.Application(client_max_size=MOST_BYTES)
        app.add_routes(Doors(shop).routes())
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
