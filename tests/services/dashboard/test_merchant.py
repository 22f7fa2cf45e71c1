"""The merchant's pages, on the real services: orders of codes, partners, coupons, redemptions."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.databases import Database
from tests.running import OPERATOR_TOKEN, RunningServices, running_services
from tests.services.dashboard.conftest import Browser, Dashboard, HeldClock, Reply, running_dashboard

_FORM_ID = re.compile(r'name="form_id" value="(\w+)"')


@dataclass
class Shop:
    """A program with one partner, and the dashboard beside its services."""

    dashboard: Dashboard
    running: RunningServices
    program_id: uuid.UUID
    key: str
    partner: dict[str, Any]

    async def call(self, method: str, path: str, body: Any = None, service: str = "codes", **headers: str) -> Any:
        """Ask a service with the program's key, or with what the headers say."""
        sent = headers or {"Authorization": f"Bearer {self.key}"}
        url = self.running[service].url + path
        async with self.dashboard.http.request(method, url, json=body, headers=sent) as answer:
            assert answer.status in {200, 201}, await answer.text()
            return await answer.json()

    async def merchant(self, **account: Any) -> Browser:
        return await self.dashboard.signed_in(program_id=self.program_id, **account)

    async def program(self) -> uuid.UUID:
        body = {"name": "Aurora", "link_url": "https://a.example/"}
        operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
        return uuid.UUID((await self.call("POST", "/v1/programs", body, **operator))["data"]["id"])

    async def order(self, partner_key: str, count: int, **more: str) -> str:
        body = {"count": count, **more}
        placed = await self.call("POST", "/api/partners/code-orders", body, **{"X-Partner-Key": partner_key})
        return str(placed["id"])

    async def partner_key(self) -> str:
        made = await self.call("POST", f"/v1/partners/{self.partner['id']}/keys", {"name": "Test"})
        return str(made["data"]["key"])


def form_of(page: Reply) -> dict[str, str]:
    """Return the id of the form that a page shows."""
    found = _FORM_ID.search(page.text)
    assert page.status == 200, page.text
    assert found is not None
    return {"form_id": found[1]}


@pytest.fixture
async def shop(database: Database, clean_broker: dict[str, str], clock: HeldClock) -> AsyncIterator[Shop]:
    async with (
        running_services(database, clean_broker, names=["codes", "redemption"]) as running,
        running_dashboard(database, clock, urls=running.urls) as dashboard,
    ):
        made = Shop(dashboard, running, uuid.uuid4(), OPERATOR_TOKEN, {})
        made.program_id = await made.program()
        made.key = await _program_key(made)
        partner = {"name": "North <b>wind", "status": "active", "prefix": "NORTH"}
        made.partner = (await made.call("POST", "/v1/partners", partner))["data"]
        yield made


async def _program_key(made: Shop) -> str:
    return str((await made.call("POST", f"/v1/programs/{made.program_id}/keys", {}))["data"]["key"])


@pytest.mark.timeout(120)
async def test_orders_are_approved_with_their_line_and_refused_with_a_reason(shop: Shop) -> None:
    merchant = await shop.merchant()
    assert "No order yet" in (await merchant.get("/merchant/orders")).text
    key = await shop.partner_key()
    first, second = await shop.order(key, 300, note="For <i>May"), await shop.order(key, 7, reference="PO-7")
    listed = await merchant.get("/merchant/orders")
    assert listed.text.count("Waiting for approval</span>") == 2
    assert "North &lt;b&gt;wind" in listed.text
    assert "No order matches" in (await merchant.get("/merchant/orders?state=paid")).text

    looking = await shop.merchant(email="l@x.example", grade="look")
    seen = await looking.get(f"/merchant/orders/{first}")
    assert "For &lt;i&gt;May" in seen.text
    assert f"{first}/approve" not in seen.text
    assert (await looking.post(f"/merchant/orders/{first}/approve")).status == 403

    page = await merchant.get(f"/merchant/orders/{first}")
    assert "On approval" in page.text
    assert "+300" in page.text
    approved = await merchant.post(f"/merchant/orders/{first}/approve", form_of(page))
    assert approved.location == f"/merchant/orders/{first}?note=order_approved"
    shown = (await merchant.get(approved.location)).text
    assert "Granted by this order" in shown
    assert "Approve 300" not in shown
    # Who sends the form of an older page is told, and nothing is granted twice.
    assert (await merchant.post(f"/merchant/orders/{first}/refuse", {"reason": "late"})).status == 422

    ask = await merchant.get(f"/merchant/orders/{second}/refuse")
    assert "none of the 7 codes" in ask.text
    assert (await merchant.post(f"/merchant/orders/{second}/refuse", {**form_of(ask), "reason": " "})).status == 422
    done = await merchant.post(f"/merchant/orders/{second}/refuse", {**form_of(ask), "reason": "Not <now>"})
    assert done.status == 303
    assert "Not &lt;now&gt;" in (await merchant.get(done.location)).text
    quota = (await shop.call("GET", f"/v1/partners/{shop.partner['id']}/quota"))["data"]
    assert quota["remaining"] == 300
    foreign = await shop.dashboard.signed_in("f@x.example", program_id=await shop.program())
    assert (await foreign.get(f"/merchant/orders/{first}")).status == 404


@pytest.mark.timeout(120)
async def test_partners_are_listed_granted_codes_and_suspended(shop: Shop) -> None:
    merchant = await shop.merchant()
    path = f"/merchant/partners/{shop.partner['id']}"
    assert "North &lt;b&gt;wind" in (await merchant.get("/merchant/partners")).text
    assert "No partner matches" in (await merchant.get("/merchant/partners?status=suspended")).text

    looking = await shop.merchant(email="l@x.example", grade="look")
    seen = await looking.get(path)
    assert seen.status == 200
    assert f"{path}/" not in seen.text
    for act in ("grant", "suspend", "approve"):
        assert (await looking.post(f"{path}/{act}")).status == 403

    form = form_of(await merchant.get(f"{path}/grant"))
    for wrong in ({"amount": "0", "reason": "x"}, {"amount": "5", "reason": ""}, {"amount": "-5", "reason": "x"}):
        assert (await merchant.post(f"{path}/grant", {**form, **wrong})).status == 422
    grant = {**form, "kind": "grant", "amount": "1,200", "reason": "Invoice <118>"}
    # The second submit of one form grants nothing more.
    assert [(await merchant.post(f"{path}/grant", grant)).status for _ in range(2)] == [303, 303]
    take = {**form_of(await merchant.get(f"{path}/grant")), "kind": "take", "reason": "Too many"}
    refused = await merchant.post(f"{path}/grant", {**take, "amount": "1201"})
    assert refused.status == 422
    assert "has fewer codes left than that" in refused.text
    assert (await merchant.post(f"{path}/grant", {**take, "amount": "200"})).status == 303
    page = (await merchant.get(path)).text
    assert "Granted: Invoice &lt;118&gt;" in page
    assert "+1,200" in page
    assert "\u2212200" in page

    ask = await merchant.get(f"{path}/suspend")
    assert "1,000 codes" in ask.text
    assert (await merchant.post(f"{path}/suspend", form_of(ask))).status == 303
    shown = (await shop.call("GET", f"/v1/partners/{shop.partner['id']}"))["data"]
    assert (shown["status"], shown["quota"]["remaining"]) == ("suspended", 1000)
    assert "End the suspension" in (await merchant.get(path)).text
    assert (await merchant.post(f"{path}/approve")).status == 303
    assert (await shop.call("GET", f"/v1/partners/{shop.partner['id']}"))["data"]["status"] == "active"
    foreign = await shop.dashboard.signed_in("f@x.example", program_id=await shop.program())
    assert (await foreign.get(path)).status == 404
    assert "No partner yet" in (await foreign.get("/merchant/partners")).text


@pytest.mark.timeout(120)
async def test_coupons_are_listed_switched_and_archived(shop: Shop) -> None:
    terms = {"coupon_discount_type": "percent", "coupon_discount_amount": 25, "coupon_duration_type": "once"}
    body = {"name": "<Winter>", **terms, "redemption_times_status": True, "redemption_times_value": 24}
    made = (await shop.call("POST", "/v1/coupons", body))["data"]
    path = f"/merchant/coupons/{made['id']}"
    merchant = await shop.merchant()
    listed = (await merchant.get("/merchant/coupons")).text
    assert "&lt;Winter&gt;" in listed
    assert "25 % off once" in listed
    assert "0 of 24" in listed
    assert f'href="{path}"' in (await merchant.get("/merchant")).text
    assert "No coupon matches" in (await merchant.get("/merchant/coupons?name=summer")).text

    looking = await shop.merchant(email="l@x.example", grade="look")
    seen = await looking.get(path)
    assert seen.status == 200
    assert f"{path}/" not in seen.text
    for act in ("on", "off", "archive"):
        assert (await looking.post(f"{path}/{act}")).status == 403

    await merchant.get(path)
    assert (await merchant.post(f"{path}/off")).status == 303
    off = await merchant.get(path)
    assert "Switched off</span>" in off.text
    assert f"{path}/on" in off.text
    assert "&lt;Winter&gt;" in (await merchant.get("/merchant/coupons?active=false")).text
    assert (await merchant.post(f"{path}/on")).status == 303
    assert (await shop.call("GET", f"/v1/coupons/{made['id']}"))["data"]["active"] is True

    needed = next(each for each in (await shop.call("GET", "/v1/coupons"))["data"] if each["is_partner_coupon"])
    refused = await merchant.post(f"/merchant/coupons/{needed['id']}/archive")
    assert refused.status == 422
    assert "it has to stay" in refused.text
    ask = await merchant.get(f"{path}/archive")
    assert "It was never redeemed" in ask.text
    assert (await merchant.post(f"{path}/archive", form_of(ask))).location == "/merchant/coupons?note=coupon_archived"
    assert "&lt;Winter&gt;" not in (await merchant.get("/merchant/coupons")).text
    assert "Archived</span>" in (await merchant.get(path)).text


@pytest.mark.timeout(120)
async def test_redemptions_are_listed_with_masked_customers_and_voided(shop: Shop) -> None:
    terms = {"coupon_discount_type": "percent", "coupon_discount_amount": 25, "coupon_duration_type": "once"}
    await shop.call("POST", "/v1/coupons", {"name": "Winter", **terms, "promotion_codes": [{"code": "WINTER26"}]})
    merchant = await shop.merchant()
    assert "No redemption yet" in (await merchant.get("/merchant/redemptions")).text
    bought = {"codes": ["WINTER26"], "order_ref": "A <1>", "customer": {"id": "sara@example.org"}}
    order = {"currency": "EUR", "subtotal": 8990}
    redeemed = await until_redeemed(shop, {**bought, "order": order})
    listed = (await merchant.get("/merchant/redemptions")).text
    assert "s…@example.org" in listed
    assert "sara@" not in listed
    assert "A &lt;1&gt;" in listed
    assert "EUR 22.48" in listed or "EUR 22.47" in listed
    assert "No redemption matches" in (await merchant.get("/merchant/redemptions?status=voided")).text

    path = f"/merchant/redemptions/{redeemed['id']}/void"
    looking = await shop.merchant(email="l@x.example", grade="look")
    seen = await looking.get("/merchant/redemptions")
    assert "s…@example.org" in seen.text
    assert path not in seen.text
    assert (await looking.post(path)).status == 403

    ask = await merchant.get(path)
    assert "Its use is free again" in ask.text
    done = await merchant.post(path, {**form_of(ask), "reason": "Fraud"})
    assert done.location == "/merchant/redemptions?note=redemption_voided"
    assert "Taken back</span>" in (await merchant.get("/merchant/redemptions?status=voided")).text
    found = await shop.call("GET", f"/v1/redemptions/{redeemed['id']}", service="redemption")
    assert (found["data"]["status"], found["data"]["void_reason"]) == ("voided", "Fraud")
    assert "It is taken back already" in (await merchant.get(path)).text
    foreign = await shop.dashboard.signed_in("f@x.example", program_id=await shop.program())
    assert (await foreign.get(path)).status == 404


async def until_redeemed(shop: Shop, bought: dict[str, Any]) -> Any:
    """Redeem a code as soon as its event has reached the redemption service."""
    headers = {"Authorization": f"Bearer {shop.key}"}
    url = shop.running["redemption"].url + "/v1/redemptions"
    async with asyncio.timeout(30):
        while True:
            async with shop.dashboard.http.post(url, json=bought, headers=headers) as answer:
                body = await answer.json()
            if answer.status in {200, 201}:
                return body["data"]["redemptions"][0]
            await asyncio.sleep(0.1)


async def test_a_list_says_that_its_service_is_away_and_one_thing_is_a_503(dashboard: Dashboard) -> None:
    merchant = await dashboard.signed_in()
    services = {"orders": "codes", "partners": "codes", "coupons": "codes", "redemptions": "redemption"}
    for name, service in services.items():
        listed = await merchant.get(f"/merchant/{name}")
        assert listed.status == 200
        assert f"The {service} service does not answer" in listed.text
        assert " yet</h2>" not in listed.text
        one = f"/merchant/{name}/{uuid.uuid4()}" + ("/void" if name == "redemptions" else "")
        assert (await merchant.get(one)).status == 503
