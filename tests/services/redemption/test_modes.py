"""Test mode: a test code redeems no live order, nor a live code a test order, at any door."""

import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from services.redemption.api.routes import ROUTES
from shared.events.catalogue import PUBLISHED
from shared.ids import new_id
from shared.modes import Mode
from shared.web import Route
from tests.accounts import DASHBOARD
from tests.modes import leaks, modes_in, tenant_in_test_mode
from tests.services.redemption.conftest import Decider, Reply, Shop, open_shop
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

USD = {"currency": "USD", "subtotal": 2500}
# One order redeems this code in both modes; each has one that the other mode has not.
BOTH, ONLY = "SAME", {False: "LIVE", True: "TRIAL"}


@dataclass
class Sides:
    """One program in both modes, by whether it is the test one: its codes, and its shop's key."""

    program: uuid.UUID
    partner: uuid.UUID
    keys: dict[bool, str]
    coupons: dict[bool, uuid.UUID]
    shop: Shop
    decider: Decider

    async def send(self, test: bool, method: str, path: str, json: Any = None) -> Reply:
        return await self.shop.send(method, path, json, key=self.keys[test])

    async def complete(self, test: bool, *codes: str, ref: str = "order-1", **data: Any) -> list[dict[str, Any]]:
        mode: dict[str, Any] = {"mode": "test"} if test else {}
        return await self.decider.take(checkout(self.program, *codes, ref=ref, **mode, **data))


@pytest.fixture
async def sides(merchant: Merchant, shop: Shop, decider: Decider) -> AsyncIterator[Sides]:
    program = shop.program_id
    partner = await merchant.partner(program)
    keys, coupons = {}, {}
    for test in (False, True):
        tenant = tenant_in_test_mode(program) if test else program
        owner = tenant_in_test_mode(partner) if test else partner
        coupon = coupons[test] = await merchant.coupon(tenant, percent=9_000, limit=3)
        await merchant.restrict_coupon(coupon, commission_hundredths=1000)
        for text in (BOTH, ONLY[test]):
            await merchant.code(tenant, coupon, text, partner_id=owner, limit=2)
        keys[test] = await merchant.key(tenant, "checkout", "manage")
    async with open_shop(decider.pool, program, keys[False], decider) as opened:
        yield Sides(program, partner, keys, coupons, opened, decider)


@pytest.mark.parametrize("test", [False, True])
async def test_a_code_of_the_other_mode_is_unknown_at_every_door(sides: Sides, test: bool) -> None:
    foreign = ONLY[not test]
    [rejected] = await sides.complete(test, foreign)
    assert (rejected["event"], rejected["reason"]) == ("code.redemption_rejected", "code_unknown")
    asked = {"codes": [foreign], "order_ref": "order-2"}
    for path in ("/v1/redemptions", "/v1/reservations"):
        refused = await sides.send(test, "POST", path, asked)
        assert (refused.status, refused.body["code"]) == (409, "code_unknown"), path
    verdict = (await sides.send(test, "POST", "/v1/validations", {"codes": [foreign]})).data["codes"][0]
    assert (verdict["valid"], verdict["reason"]) == (False, "code_unknown")


async def test_the_same_order_and_the_same_string_are_two_in_two_modes(sides: Sides, admin: Any) -> None:
    """Limits, counters and idempotency by order would otherwise let a test take a customer's last use."""
    for test in (True, False):
        [redeemed] = [each for each in await sides.complete(test, BOTH, order=USD) if each["event"] == "code.redeemed"]
        assert (redeemed["times_redeemed"], redeemed.get("is_test", False)) == (1, test)
        # Again it is the same order, in its own mode.
        assert await sides.complete(test, BOTH, order=USD) == []
    for test in (True, False):
        order = (await sides.send(test, "GET", "/v1/orders/order-1")).data
        assert (order["codes"], order["is_test"], len(order["redemptions"])) == ([BOTH], test, 1)
        assert order["redemptions"][0]["partner_id"] == str(sides.partner)
    # What is taken back in test mode stands in live mode.
    [voided, *_] = await sides.decider.take(taken_back(sides.program, mode="test"))
    assert (voided["event"], voided["is_test"], voided["program_id"]) == (
        "code.redemption_voided",
        True,
        str(sides.program),
    )
    assert (await sides.send(False, "GET", "/v1/redemptions")).data[0]["status"] == "redeemed"
    assert (await sides.send(True, "GET", "/v1/redemptions")).data[0]["status"] == "voided"


async def test_a_hold_of_a_test_order_keeps_nothing_from_a_live_one(sides: Sides) -> None:
    for ref in ("a", "b"):
        held = await sides.send(True, "POST", "/v1/reservations", {"codes": [BOTH], "order_ref": ref})
        assert (held.status, held.data["is_test"]) == (201, True)
    asked = {"codes": [BOTH], "order_ref": "c"}
    assert (await sides.send(True, "POST", "/v1/reservations", asked)).body["code"] == "code_held"
    assert (await sides.send(False, "POST", "/v1/redemptions", asked)).status == 201


async def test_uses_of_a_customer_are_counted_per_mode(sides: Sides, merchant: Merchant) -> None:
    for coupon in sides.coupons.values():
        await merchant.restrict_coupon(coupon, customer_redemption_limit=2)
    buyer = {"id": "ann", "email": "ann@example.com"}
    for ref in ("a", "b"):
        assert (await sides.complete(True, BOTH, ref=ref, customer=buyer))[0]["event"] == "code.redeemed"
    assert (await sides.complete(True, ONLY[True], ref="c", customer=buyer))[0]["reason"] == "customer_limit_reached"
    assert (await sides.complete(False, BOTH, ref="c", customer=buyer))[0]["event"] == "code.redeemed"


@pytest.mark.parametrize("mode", ["TEST", "sandbox", "", None, True, 1])
async def test_a_mode_that_is_none_is_never_taken_for_live(sides: Sides, mode: Any) -> None:
    for body in (checkout(sides.program, BOTH, mode=mode), taken_back(sides.program, mode=mode)):
        [verdict] = await sides.decider.handle(body)
        assert verdict is not None
        assert (verdict.reason, "data.mode" in verdict.detail) == ("invalid_data", True)
    assert sides.decider.handed_over == []


@pytest.mark.parametrize("said", [{}, {"mode": "live"}, {"mode": "test"}])
async def test_the_id_of_a_test_tenant_names_no_program_in_an_event(sides: Sides, said: dict[str, Any]) -> None:
    """Log lines name it; taken for the program's own, an order of test mode would be a live one."""
    tenant = tenant_in_test_mode(sides.program)
    for body in (checkout(tenant, BOTH, **said), taken_back(tenant, **said)):
        [verdict] = await sides.decider.handle(body)
        assert verdict is not None
        assert (verdict.reason, "data.program_id" in verdict.detail) == ("invalid_data", True)
    assert sides.decider.handed_over == []


@pytest.mark.parametrize(
    "said",
    [
        {"is_test": True},
        {"is_test": True, "mode": "live"},
        {"is_test": False, "mode": "test"},
        {"is_test": "true"},
        {"is_test": 1, "mode": "test"},
        {"is_test": "", "mode": "live"},
    ],
)
async def test_is_test_without_the_mode_is_refused_and_redeems_nothing(sides: Sides, said: dict[str, Any]) -> None:
    """A body copied from one of our own events says `is_test` and no mode: taken for live, a test would cost money."""
    for body in (checkout(sides.program, BOTH, **said), taken_back(sides.program, **said)):
        [verdict] = await sides.decider.handle(body)
        assert verdict is not None
        assert (verdict.reason, "data.is_test" in verdict.detail) == ("invalid_data", True)
    assert sides.decider.handed_over == []


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("is_test", [True, False, None])
async def test_is_test_beside_the_mode_changes_nothing(sides: Sides, test: bool, is_test: bool | None) -> None:
    if is_test is not (not test):
        [redeemed, *_] = await sides.complete(test, BOTH, is_test=is_test)
        assert (redeemed["event"], redeemed.get("is_test", False)) == ("code.redeemed", test)


@pytest.mark.parametrize("test", [False, True])
async def test_over_http_the_key_alone_says_the_mode(sides: Sides, test: bool) -> None:
    """A live key with `"mode": "test"` must not redeem a live code, nor a test key be told that it did so live."""
    asked = {"codes": [BOTH], "order_ref": "order-2"}
    for path in ("/v1/redemptions", "/v1/reservations", "/v1/validations"):
        for said in ({"mode": "test"}, {"mode": "live"}, {"is_test": True}, {"is_test": False}):
            refused = await sides.send(test, "POST", path, {**asked, **said})
            assert (refused.status, list(refused.body["errors"])) == (422, list(said)), (path, said)
    for path in ("/v1/orders/order-2/void", "/v1/customers/erase"):
        assert (await sides.send(test, "POST", path, {"mode": "test"})).status == 422
    assert (await sides.send(test, "GET", "/v1/redemptions?mode=test")).status == 422
    assert (await sides.send(test, "GET", "/v1/redemptions")).data == []


async def test_live_may_be_said_and_is_what_is_meant_by_saying_nothing(sides: Sides) -> None:
    told = await sides.decider.take(checkout(sides.program, BOTH, mode="live"))
    assert (told[0]["event"], "is_test" in told[0]) == ("code.redeemed", False)


async def test_a_partner_is_known_as_the_buyer_by_its_usual_id(sides: Sides) -> None:
    [redeemed, *_] = await sides.complete(True, BOTH, customer={"id": str(sides.partner)})
    assert (redeemed["is_self_referral"], redeemed["partner_id"]) == (True, str(sides.partner))


async def make(sides: Sides, test: bool) -> dict[str, str]:
    """Make one of each in a mode, under the same names in both."""
    redeemed = await sides.send(test, "POST", "/v1/redemptions", {"codes": [BOTH], "order_ref": "made", "order": USD})
    held = await sides.send(test, "POST", "/v1/reservations", {"codes": [BOTH], "order_ref": "held"})
    refused = await sides.send(test, "POST", "/v1/redemptions", {"codes": ["NONE"], "order_ref": f"refused-{test}"})
    assert (redeemed.status, held.status, refused.status) == (201, 201, 409)
    job = await sides.send(test, "POST", "/v1/customers/export", {"customer_id": "ann"})
    assert job.status == 202, job.body
    [redemption] = redeemed.data["redemptions"]
    statements = await sides.send(test, "GET", "/v1/commission-statements")
    ids = {"redemption_id": redemption["id"], "statement_id": statements.data[0]["id"]}
    ids |= {"reservation_id": held.data["id"], "job_id": job.data["id"]}
    return {**ids, "order_ref": f"refused-{test}"}


def filled(route: Route, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)[^}]*\}", lambda match: ids[match[1]], route.path)


@pytest.mark.parametrize("by", ["key", "account"])
async def test_on_every_route_what_the_other_mode_made_is_missing(sides: Sides, by: str) -> None:
    if by == "account":
        for test in (False, True):
            mode: Mode = "test" if test else "live"
            sides.keys[test] = DASHBOARD.token("redemption", sides.decider.now, program_id=sides.program, mode=mode)
    made = {test: await make(sides, test) for test in (False, True)}
    checked = 0
    for test in (False, True):
        for route in ROUTES:
            if route.security == "operator" or "{" not in route.path or route.path.endswith("{order_ref}/void"):
                continue
            body: Any = None if route.method in ("GET", "DELETE") else route.examples.get("request", {})
            foreign = await sides.send(test, route.method, filled(route, made[not test]), body)
            absent = {name: str(new_id()) for name in made[not test]}
            missing = await sides.send(test, route.method, filled(route, absent), body)
            assert foreign.status == missing.status == 404, (test, route.path)
            assert not leaks(foreign.raw.decode(), dict(foreign.headers))
            checked += 1
    assert checked == 24
    # Voiding an order that is unknown in this mode leaves that of the other mode alone.
    assert (await sides.send(True, "POST", "/v1/orders/made/void", {})).status == 200
    assert (await sides.send(False, "GET", f"/v1/redemptions/{made[False]['redemption_id']}")).data["is_counted"]


async def test_every_route_that_reads_answers_its_own_mode_with_the_usual_ids(sides: Sides) -> None:
    made = {test: await make(sides, test) for test in (False, True)}
    partner = f"partner_id={sides.partner}"
    for test, ids in made.items():
        routes = [route for route in ROUTES if route.method == "GET" and route.security != "operator"]
        # A job's file is there once it is done, and nobody works on jobs here; exports are no JSON.
        paths = [filled(route, ids) for route in routes if not route.path.endswith(("/file", "/export"))]
        for path in (*paths, f"/v1/redemptions?{partner}", "/v1/orders/made", "/v1/orders/held"):
            reply = await sides.send(test, "GET", path)
            assert reply.status == 200, (test, path, reply.body)
            assert not leaks(reply.raw.decode(), dict(reply.headers)), (test, path)
            assert modes_in(reply.body) == ({test} if "/customers/" not in path else set()), (test, path)
        text = (await sides.send(test, "GET", "/v1/redemptions")).raw.decode()
        assert made[not test]["redemption_id"] not in text
        verdict = (await sides.send(test, "POST", "/v1/validations", {"codes": [BOTH]})).data["codes"][0]
        assert verdict["partner_id"] == str(sides.partner)


async def test_the_same_idempotency_key_is_two_in_two_modes(sides: Sides) -> None:
    for key in sides.keys.values():
        asked = {"codes": [BOTH], "order_ref": "once"}
        reply = await sides.shop.send("POST", "/v1/redemptions", asked, key=key, idempotency="once")
        assert (reply.status, "Idempotent-Replayed" in reply.headers) == (201, False)


async def test_every_event_says_its_mode_and_the_usual_ids(sides: Sides, merchant: Merchant) -> None:
    heard: dict[bool, set[str]] = {}
    for test in (False, True):
        tenant = tenant_in_test_mode(sides.program) if test else sides.program
        coupon = await merchant.coupon(tenant, percent=5000, limit=2)
        await merchant.restrict_coupon(coupon, commission_hundredths=1000, combination="none")
        owner = tenant_in_test_mode(sides.partner) if test else sides.partner
        for text in ("ALONE", "OTHER"):
            await merchant.code(tenant, coupon, text, partner_id=owner, limit=2)
        before = len(sides.decider.handed_over)
        mode: dict[str, Any] = {"mode": "test"} if test else {}
        await sides.complete(test, "ALONE", "OTHER", ref="1", order=USD)
        await sides.decider.take(taken_back(sides.program, "refunded", ref="1", amount=100, **mode))
        await sides.complete(test, "ALONE", ref="2", order=USD)
        await sides.complete(test, "NONE", ref="3")
        await sides.decider.take(taken_back(sides.program, ref="1", time=NOW, **mode))
        told = sides.shop.announced()[before:]
        heard[test] = {each["event"] for each in told}
        for each in told:
            assert each.get("is_test", False) is test
            assert ("is_test" in each) is test
            assert each["program_id"] == str(sides.program)
            assert each.get("partner_id") in (str(sides.partner), None)
        assert not leaks(str(told))
    assert heard[False] == heard[True] == {model.type for model in PUBLISHED["redemption"]}
