"""Links in answers: of lists, whatever headers say of host and protocol; of codes, as far as the program has one."""

import asyncio
import re

import pytest
from yarl import URL

from services.codes.config import CodesSettings
from shared.web.request import PUBLIC_URL
from tests.services.codes.conftest import Owner, Service

FORGED = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "Forwarded": "host=evil.example;proto=http",
}


@pytest.fixture
async def coupons(service: Service, program: Owner) -> dict[str, str]:
    for name in ("a", "b", "c"):
        terms = {"coupon_discount_type": "percent", "coupon_discount_amount": 5, "coupon_duration_type": "once"}
        assert (await service.send("POST", "/v1/coupons", program.key, {**terms, "uuid_code": name})).status == 201
    return {"Authorization": f"Bearer {program.key}", **FORGED}


async def links(service: Service, headers: dict[str, str]) -> list[str]:
    async with service.http.get("/v1/coupons?limit=1&page=2", headers=headers) as page:
        body = await page.json()
    async with service.http.get("/api/v1/coupons?limit=1", headers=headers) as listed:
        link = listed.headers["Link"].partition(">")[0].strip("<")
    return [*(body["links"][name] for name in ("first", "prev", "next")), body["meta"]["path"], link]


async def test_links_are_relative(service: Service, coupons: dict[str, str]) -> None:
    """A link by the Host header leads to whom the header names, and loses the https that ends at the proxy."""
    found = await links(service, coupons)
    assert found[:4] == [f"/v1/coupons?limit=1&page={number}" for number in (1, 1, 3)] + ["/v1/coupons"]
    assert found[4].startswith("/api/v1/coupons?limit=1&cursor=")
    for link in found:
        assert (await service.send("GET", URL(link, encoded=True), coupons["Authorization"].split()[1])).status == 200


async def test_links_begin_with_the_configured_public_url(
    service: Service, coupons: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = service.app._state
    monkeypatch.setitem(state, PUBLIC_URL, "https://codes.shop.example/api")
    assert all(link.startswith("https://codes.shop.example/api/") for link in await links(service, coupons))


@pytest.mark.parametrize(
    ("value", "is_good"),
    [
        *(("", True), ("https://codes.shop.example", True), ("http://127.0.0.1:8001/mintwire/", True)),
        *(("codes.shop.example", False), ("https://a.example/?x=1", False), ("ftp://a.example", False)),
    ],
)
def test_a_public_url_is_an_address_without_a_query(value: str, is_good: bool) -> None:
    field = CodesSettings.model_fields["public_url"]
    pattern = next(each.pattern for each in field.metadata if hasattr(each, "pattern"))
    assert bool(re.fullmatch(pattern, value)) == is_good


async def test_without_a_link_nothing_is_minted_or_charged_until_it_is_set(service: Service) -> None:
    """A link to a reserved name, handed to a customer, is a code lost."""
    bare = await service.with_key(await bare_program(service))
    partner = await service.partner(bare, quota=5)
    shop = await service.partner(await service.program(), quota=5)
    refused, minted = await asyncio.gather(service.generate(partner), service.generate(shop))
    assert (refused.status, refused.body["error_code"], minted.status) == (403, "link_url_missing", 200)
    assert "link_url" in refused.body["error"]
    assert "RateLimit" not in refused.headers
    assert (await service.generate(partner, idempotency="a")).status == 403
    pending = await service.generate(await service.partner(bare, status="pending", quota=5))
    assert (pending.status, pending.body["error_code"]) == (403, "partner_inactive")
    quota = (await service.send("GET", "/api/partners/quota", partner.key)).body
    assert (quota["minted"], quota["remaining"]) == (0, 5)
    draft = {"coupon_uuid": "partner-codes", "code": "BY-HAND"}
    by_hand = await service.send("POST", "/v1/promotion-codes", bare.key, draft)
    assert (by_hand.status, by_hand.data["url"]) == (201, None)
    drawn = await service.send("GET", "/v1/promotion-codes/BY-HAND/qr", bare.key)
    assert (drawn.status, drawn.body["code"]) == (409, "link_url_missing")
    exported = await service.send("GET", "/v1/promotion-codes/export?format=ndjson", bare.key)
    assert b'"url":null' in exported.raw
    changed = await service.send("PATCH", f"/v1/programs/{bare.id}", json={"link_url": "https://shop.example/"})
    assert changed.data["link_url"] == "https://shop.example/"
    minted = await service.generate(partner)
    assert (minted.status, minted.body["url"]) == (200, f"https://shop.example/?promo={minted.body['code']}")


async def bare_program(service: Service) -> str:
    made = await service.send("POST", "/v1/programs", json={"name": "Bare"})
    assert made.data["link_url"] is None
    return f"/v1/programs/{made.data['id']}"
