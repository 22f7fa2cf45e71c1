"""Links in answers: relative, or under the configured public URL, whatever headers say of host and protocol."""

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
