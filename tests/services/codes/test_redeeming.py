"""`redeem` and `transaction_key` of the coupon API, against the redemption service itself on another socket."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.codes.domain.orders import Applied
from services.codes.integrations.redemption import RedemptionClient, RedemptionUnavailable
from services.redemption import app as redemption
from services.redemption.domain.customers import Digests
from shared.database.accounts import AccountReader
from shared.database.credentials import CredentialReader
from shared.database.pool import Database as Pool
from shared.events.envelope import OutboxEvent
from shared.web.health import Report
from tests.accounts import DASHBOARD
from tests.databases import Database
from tests.operating import operating
from tests.services.codes.conftest import HeldClock, Owner, Reply, Service, running_service

COUPON = {
    "uuid_code": "spring-25",
    "coupon_discount_type": "percent",
    "coupon_discount_amount": 25,
    "coupon_duration_type": "once",
    "redemption_times_status": True,
    "redemption_times_value": 1,
    "promotion_codes": ["SPRING-A"],
}


@dataclass(frozen=True)
class Pair:
    """Both services over one database, and a program."""

    service: Service
    program: Owner
    redemption_url: str
    redemption_pool: Pool
    announced: list[OutboxEvent]

    async def put(self, path: str, key: str | None = None, **body: Any) -> Reply:
        return await self.service.send("PUT", f"/v1/{path}", key or self.program.key, body)

    async def uses(self) -> int:
        async with self.redemption_pool.connection() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM redemptions"))


@pytest.fixture
async def pair(database: Database, clock: HeldClock) -> AsyncIterator[Pair]:
    async def ready() -> Report:
        return Report({"database": "ok"})

    async with redemption.open_database(database.redemption, 4) as pool:
        announced: list[OutboxEvent] = []
        cases = redemption.build_use_cases(pool, clock, announced.extend, Digests(b"d" * 32), lambda: None)
        app = redemption.build_app(
            cases,
            CredentialReader(pool, clock),
            AccountReader(pool, clock, DASHBOARD.keys, "redemption"),
            ready,
            operating("redemption", pool, clock),
        )
        async with cases.decide.running(), TestServer(app) as server:
            url = str(server.make_url(""))
            async with running_service(database, clock, url) as service:
                program = await service.program()
                made = await service.send("POST", "/v1/coupons", program.key, COUPON)
                assert made.status == 201, made.body
                yield Pair(service, program, url, pool, announced)


async def test_a_change_of_the_code_redeems_it_for_the_order_once(pair: Pair) -> None:
    asked: dict[str, Any] = {
        "code": "spring a",
        "redeem": True,
        "transaction_key": "order-1",
        "metadata": {"channel": "mail"},
    }
    first, again = await pair.put("promotion-codes", **asked), await pair.put("promotion-codes", **asked)
    assert (first.status, again.status) == (200, 200)
    assert first.data["metadata"] == {"channel": "mail"}
    told = first.body["redemption"]
    assert told == {
        "applied": True,
        "transaction_key": "order-1",
        "redemption_id": told["redemption_id"],
        "redeemed_at": told["redeemed_at"],
        "is_repeat": False,
        "reason": None,
        "message": None,
    }
    assert again.body["redemption"] == {**told, "is_repeat": True}
    assert await pair.uses() == 1
    for answer in (first, again):
        assert (answer.data["times_redeemed"], answer.data["coupon"]["times_redeemed"]) == (1, 1)
        assert answer.data["additional_info"] == {
            "redemptions": [{"redeemed_at": told["redeemed_at"], "transaction_key": "order-1"}],
            "meta": {"has_more": False},
        }
        assert answer.body["message"] == "Promotion code updated in the app successfully."


@pytest.mark.parametrize(
    ("path", "named"), [("promotion-codes", {"code": "SPRING-A"}), ("coupons", {"uuid_code": "spring-25"})]
)
async def test_the_trace_of_the_change_is_that_of_the_redemption(pair: Pair, path: str, named: dict[str, str]) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"Authorization": f"Bearer {pair.program.key}", "traceparent": traceparent}
    asked = {**named, "redeem": True, "transaction_key": "order-1"}
    async with pair.service.http.put(f"/v1/{path}", headers=headers, json=asked) as answer:
        assert answer.status == 200, await answer.text()
    events = [json.loads(event.body) for event in pair.announced]
    assert [event["type"] for event in events] == ["code.redeemed", "coupon.exhausted"]
    assert {event["traceparent"] for event in events} == {traceparent}


async def test_an_order_s_number_is_its_key(pair: Pair) -> None:
    """The order that checkouts may name by a number was refused here."""
    asked: dict[str, Any] = {"code": "SPRING-A", "redeem": True}
    first = await pair.put("promotion-codes", **asked, transaction_key=4711)
    again = await pair.put("promotion-codes", **asked, transaction_key="4711")
    assert (first.body["redemption"]["transaction_key"], first.body["redemption"]["applied"]) == ("4711", True)
    assert again.body["redemption"] == {**first.body["redemption"], "is_repeat": True}


async def test_what_the_engine_refuses_is_told_with_its_reason(pair: Pair) -> None:
    await pair.put("promotion-codes", code="SPRING-A", redeem=True, transaction_key="order-1")
    refused = await pair.put("promotion-codes", code="SPRING-A", redeem=True, transaction_key="order-2")
    told = refused.body["redemption"]
    assert (refused.status, told["applied"], told["redemption_id"]) == (200, False, None)
    assert told["reason"] == "coupon_exhausted"
    assert refused.body["message"] == f"Nothing was redeemed: {told['message']}"
    assert refused.data["times_redeemed"] == 1
    assert [use["transaction_key"] for use in refused.data["additional_info"]["redemptions"]] == ["order-1"]
    assert await pair.uses() == 1


async def test_a_coupon_is_redeemed_by_its_one_code_or_the_one_of_its_name(pair: Pair) -> None:
    asked: dict[str, Any] = {"uuid_code": "spring-25", "redeem": True}
    assert (await pair.put("coupons", **asked, transaction_key="order-1")).body["redemption"]["applied"]
    body = {"coupon_uuid": "spring-25", "code": "SPRING-B"}
    assert (await pair.service.send("POST", "/v1/promotion-codes", pair.program.key, body)).status == 201
    unclear = await pair.put("coupons", **asked, transaction_key="order-2")
    assert (unclear.status, unclear.body["redemption"]["reason"]) == (200, "code_required")
    assert unclear.body["message"].startswith("Nothing was redeemed: The coupon has several codes")
    assert (unclear.data["times_redeemed"], unclear.data["additional_info"]["meta"]) == (1, {"has_more": False})
    await pair.service.send("POST", "/v1/promotion-codes", pair.program.key, {**body, "code": "SPRING-25"})
    named = await pair.put("coupons", **asked, transaction_key="order-3")
    assert named.body["redemption"]["reason"] == "coupon_exhausted"


async def test_a_coupon_without_a_code_says_so(pair: Pair) -> None:
    bare = {**COUPON, "uuid_code": "bare", "promotion_codes": []}
    assert (await pair.service.send("POST", "/v1/coupons", pair.program.key, bare)).status == 201
    told = await pair.put("coupons", uuid_code="bare", redeem=True, transaction_key="order-1")
    assert told.body["redemption"]["reason"] == "code_required"
    assert told.body["message"] == "Nothing was redeemed: The coupon has no redeemable code."


async def test_a_coupon_with_several_codes_takes_the_one_to_redeem(pair: Pair) -> None:
    codes = [f"MANY-{number}" for number in range(20)]
    coupon = {**COUPON, "uuid_code": "many", "redemption_times_value": 9, "promotion_codes": codes}
    other = {**COUPON, "uuid_code": "unlimited", "redemption_times_status": False, "promotion_codes": ["U-1", "U-2"]}
    del other["redemption_times_value"]
    for draft in (coupon, other):
        assert (await pair.service.send("POST", "/v1/coupons", pair.program.key, draft)).status == 201
    asked: dict[str, Any] = {"uuid_code": "many", "redeem": True}
    for count, code in enumerate(("many 3", "MANY-19", "MANY-3"), 1):
        # Uses of one moment have no order.
        pair.service.clock.advance(seconds=1)
        named = await pair.put("coupons", **asked, code=code, transaction_key=f"order-{count}")
        assert named.body["redemption"]["applied"], named.body
        assert named.data["times_redeemed"] == count
        keys = [use["transaction_key"] for use in named.data["additional_info"]["redemptions"]]
        assert keys == [f"order-{number}" for number in range(1, count + 1)]
    shown = {code["code"]: code["times_redeemed"] for code in named.data["promotion_codes"]["data"]}
    assert (shown["MANY-3"], named.data["promotion_codes"]["meta"]) == (2, {"has_more": True})
    for code, name in (("U-1", "other"), ("nowhere", None)):
        refused = await pair.put("coupons", **asked, code=code, transaction_key="order-9", name=name or "x")
        assert (refused.status, list(refused.body["errors"])) == (422, ["code"])
    assert (await pair.service.send("GET", "/v1/coupons/many", pair.program.key)).data["name"] == "many"
    alone = await pair.put("coupons", uuid_code="many", code="MANY-1")
    assert (alone.status, list(alone.body["errors"])) == (422, ["code"])
    unlimited = await pair.put("coupons", uuid_code="unlimited", redeem=True, code="U-2", transaction_key="order-1")
    assert (unlimited.data["times_redeemed"], unlimited.body["redemption"]["applied"]) == (1, True)


async def test_without_redeem_nothing_is_asked(pair: Pair) -> None:
    changed = await pair.put("coupons", uuid_code="spring-25", name="Spring", transaction_key="order-1")
    assert (changed.status, changed.data["name"], changed.body["redemption"]) == (200, "Spring", None)
    assert await pair.uses() == 0


async def test_redeem_needs_an_order_and_a_key_that_may(pair: Pair) -> None:
    no_order = await pair.put("promotion-codes", code="SPRING-A", redeem=True)
    assert (no_order.status, list(no_order.body["errors"])) == (422, ["transaction_key"])
    manager = await pair.service.with_key(f"/v1/programs/{pair.program.id}", scopes=["manage"])
    refused = await pair.put("promotion-codes", manager.key, code="SPRING-A", redeem=True, transaction_key="order-1")
    assert (refused.status, refused.body["code"]) == (403, "scope_missing")
    assert await pair.uses() == 0


async def test_a_redemption_service_that_is_away_is_a_503_and_the_change_stays(
    service: Service, program: Owner
) -> None:
    await service.send("POST", "/v1/coupons", program.key, COUPON)
    asked = {"code": "SPRING-A", "redeem": True, "transaction_key": "order-1", "metadata": {"a": 1}}
    refused = await service.send("PUT", "/v1/promotion-codes", program.key, asked)
    assert (refused.status, refused.body["code"], refused.headers["Retry-After"]) == (
        503,
        "temporarily_unavailable",
        "1",
    )
    shown = await service.send("GET", "/v1/promotion-codes/SPRING-A", program.key)
    assert shown.data["metadata"] == {"a": 1}


@asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[str]:
    """Something else at the address of the redemption service, that answers always the same."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_route("*", "/v1/redemptions", answer)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (503, b"{}"), (502, b"<html>"), (429, b"{}")])
async def test_an_answer_that_says_nothing_is_no_redemption(status: int, body: bytes) -> None:
    async with answering(status, body) as url, RedemptionClient.connected(url) as client:
        with pytest.raises(RedemptionUnavailable):
            await client.redeem("Bearer key", "order-1", "SPRING-A")
        assert await client.probe("Bearer key") == "unavailable"


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        *((200, b"not json", "misdirected"), (200, b"[]", "misdirected"), (200, b'{"data": {}}', "misdirected")),
        *((302, b"{}", "misdirected"), (404, b"{}", "misdirected"), (409, b"{}", "misdirected")),
        *((401, b"{}", "unknown_key"), (401, b"<html>", "unknown_key")),
    ],
)
async def test_what_is_not_our_redemption_service_is_told_as_that(
    service: Service, program: Owner, database: Database, clock: HeldClock, status: int, body: bytes, state: str
) -> None:
    """After a start beside another stack `codes` may ask a stranger: waiting a moment, as a 503 says, never helps."""
    await service.send("POST", "/v1/coupons", program.key, COUPON)
    async with answering(status, body) as url, running_service(database, clock, url) as misled:
        asked = {"code": "SPRING-A", "redeem": True, "transaction_key": "order-1"}
        for path, named in (("promotion-codes", asked), ("coupons", {**asked, "uuid_code": "spring-25"})):
            members = {name: value for name, value in named.items() if path != "coupons" or name != "code"}
            refused = await misled.send("PUT", f"/v1/{path}", program.key, members)
            assert (refused.status, refused.body["code"]) == (502, "redemption_misdirected")
            assert "Retry-After" not in refused.headers
            assert ("does not know this API key" in refused.body["detail"]) == (status == 401)
        tried = await misled.send("GET", "/v1/redemption-path", program.key)
        assert (tried.status, tried.data["state"]) == (200, state)


async def test_the_way_to_the_redemption_service_can_be_tried(pair: Pair, service: Service) -> None:
    tried = await pair.service.send("GET", "/v1/redemption-path", pair.program.key)
    assert tried.data == {"state": "ok", "message": "The redemption service takes this key."}
    manager = await pair.service.with_key(f"/v1/programs/{pair.program.id}", scopes=["manage"])
    assert (await pair.service.send("GET", "/v1/redemption-path", manager.key)).data["state"] == "scope_missing"
    # The other process on the same database, for which there is no redemption service.
    assert (await service.send("GET", "/v1/redemption-path", pair.program.key)).data["state"] == "unreachable"
    assert (await service.send("GET", "/v1/redemption-path", "mw_sk_nonsense")).status == 401
    assert await pair.uses() == 0


async def test_it_refuses_to_ask_inside_a_transaction(pair: Pair) -> None:
    authorization = f"Bearer {pair.program.key}"
    async with RedemptionClient.connected(pair.redemption_url) as client:
        async with pair.service.pool.transaction():
            with pytest.raises(RuntimeError, match="transaction"):
                await client.redeem(authorization, "order-1", "SPRING-A")
        assert isinstance(await client.redeem(authorization, "order-1", "SPRING-A"), Applied)
