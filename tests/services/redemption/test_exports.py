"""Exports of redemptions and refused tries: what the lists say, whole or recognisably cut, by those who may see it."""

import asyncio
import tracemalloc
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from services.redemption.store import redemptions
from services.redemption.usecases import read_redemptions, read_rejections
from shared.modes import in_mode
from tests.exported import parsed_csv, parsed_ndjson
from tests.modes import leaks
from tests.services.redemption.conftest import Shop
from tests.services.redemption.merchant import Merchant
from tests.services.redemption.test_accounts import token

ORDER = {"currency": "EUR", "subtotal": 1_000}
MANY = """
INSERT INTO redemption.redemptions (id, program_id, order_ref, canonical, code, code_id, coupon_id, customer_id,
                                    discount_type, release_policy, occurred_at, confirmed_at, is_counted, terms,
                                    decided_at, void_reason)
SELECT gen_random_uuid(), $1, 'many-' || n, 'MANY', 'MANY', gen_random_uuid(), gen_random_uuid(), 'c-' || n, 'percent',
       'never', timestamptz '2026-03-01' + n * interval '1 second', now(), true, '{}', now(), repeat('x', 200)
FROM generate_series(1, $2::int) AS n
"""


async def download(shop: Shop, path: str, key: str | None = None, **query: Any) -> str:
    url = f"/v1/{path}/export?{urlencode(query)}"
    async with shop.http.get(url, headers={"Authorization": f"Bearer {key or shop.key}"}) as response:
        assert response.status == 200, await response.text()
        assert f'filename="{path}.{query.get("format", "csv")}"' in response.headers["Content-Disposition"]
        return await response.text()


@pytest.fixture
async def sold(shop: Shop, merchant: Merchant) -> Shop:
    """Three redemptions, one of them voided, and three refused tries, at several times."""
    coupon, partner = await merchant.coupon(shop.program_id, percent=1_000), await merchant.partner(shop.program_id)
    await merchant.restrict_coupon(coupon, commission_hundredths=500)
    await merchant.code(shop.program_id, coupon, "SPRING", partner_id=partner, limit=None)
    for nth in range(3):
        await shop.redeem("SPRING", ref=f"=order-{nth}", order=ORDER, customer={"id": f"+c-{nth}"})
        await shop.redeem(f"@NONE-{nth}", ref=f"order-{nth}", order=ORDER)
    await shop.void_order("=order-1", reason="-1 star")
    return shop


async def test_a_file_says_what_the_list_says(sold: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (read_redemptions, read_rejections):
        monkeypatch.setattr(module, "EXPORTED_AT_ONCE", 2)
    for path, members in (
        (
            "redemptions",
            ("id", "status", "code", "order_ref", "customer_id", "occurred_at", "void_reason", "is_counted"),
        ),
        ("rejections", ("id", "order_ref", "door", "code", "reason", "detail", "times", "occurred_at", "is_test")),
    ):
        listed = (await sold.send("GET", f"/v1/{path}")).data
        objects = parsed_ndjson(await download(sold, path, format="ndjson"))
        assert [[each[name] for name in members] for each in objects] == [
            [each[name] for name in members] for each in listed
        ]
        rows = parsed_csv(await download(sold, path))
        assert [row["id"] for row in rows] == [each["id"] for each in listed]
        assert rows[0].keys() == objects[0].keys()


async def test_text_is_guarded_and_numbers_stay_numbers(sold: Shop) -> None:
    [voided] = parsed_csv(await download(sold, "redemptions", status="voided"))
    assert (voided["order_ref"], voided["customer_id"], voided["void_reason"]) == ("'=order-1", "'+c-1", "'-1 star")
    assert (voided["discount_minor"], voided["subtotal_minor"], voided["commission_minor"]) == ("100", "1000", "45")
    refused = parsed_csv(await download(sold, "rejections", order_ref="order-1"))
    assert [(row["code"], row["times"]) for row in refused] == [("'@NONE-1", "1")]


async def test_filters_are_those_of_the_list(sold: Shop) -> None:
    async def count(path: str, **query: Any) -> int:
        found = parsed_csv(await download(sold, path, **query))
        assert [row["id"] for row in found] == [
            each["id"] for each in (await sold.send("GET", f"/v1/{path}?{urlencode(query)}")).data
        ]
        return len(found)

    assert await count("redemptions", code="spring") == 3
    assert await count("redemptions", code="spring", customer_id="+c-2") == 1
    assert await count("redemptions", coupon_id="none") == await count("redemptions", code="-") == 0
    assert await count("redemptions", status="redeemed", occurred_from="2026-03-18") == 2
    assert await count("redemptions", occurred_before="2026-03-18") == 0
    assert await count("rejections", reason="code_unknown", door="redemption") == 3
    assert await count("rejections", to="2026-03-17") == 0
    refused = await sold.send("GET", "/v1/redemptions/export?format=xml")
    assert (refused.status, list(refused.body["errors"])) == (422, ["format"])


async def test_an_account_that_only_looks_gets_no_customers(sold: Shop) -> None:
    looks, changes = (token(sold, grade=grade) for grade in ("look", "change"))
    assert {row["customer_id"] for row in parsed_csv(await download(sold, "redemptions", looks))} == {""}
    assert "c-1" not in await download(sold, "redemptions", looks, format="ndjson")
    assert "c-1" in await download(sold, "redemptions", changes)
    for query in ("customer_id=+c-1", "customer_email=a@b.example"):
        refused = await sold.send("GET", f"/v1/redemptions/export?{query}", key=looks)
        assert (refused.status, refused.body["code"]) == (403, "look_only")
    assert len(parsed_csv(await download(sold, "rejections", looks))) == 3


async def test_other_programs_modes_and_keys_see_none_of_it(sold: Shop, merchant: Merchant) -> None:
    strangers = [
        await merchant.key(await merchant.program(), "manage"),
        await merchant.key(in_mode(sold.program_id, test=True), "manage"),
    ]
    for path in ("redemptions", "rejections"):
        for key in strangers:
            assert parsed_csv(await download(sold, path, key)) == []
        assert not leaks(await download(sold, path))
        refused = await sold.send("GET", f"/v1/{path}/export", key=token(sold, "partner", partner_id=None))
        assert refused.status in (401, 403)


async def test_a_file_of_any_length_takes_little_memory(sold: Shop, admin: Any) -> None:
    await admin.execute(MANY, sold.program_id, 12_000)
    # What only the first export needs.
    await download(sold, "redemptions", order_ref="none")
    tracemalloc.start()
    try:
        length = 0
        headers = {"Authorization": f"Bearer {sold.key}"}
        async with sold.http.get("/v1/redemptions/export?format=ndjson", headers=headers) as response:
            async for chunk in response.content.iter_chunked(65_536):
                length += len(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length > 8_000_000
    assert peak < length / 2


async def test_a_file_that_breaks_off_has_no_last_line(sold: Shop, admin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await admin.execute(MANY, sold.program_id, 3_000)
    whole, asked = redemptions.list_redemptions, 0

    async def breaks(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 4:
            raise RuntimeError("the process is in trouble")
        return await whole(*given)

    monkeypatch.setattr(redemptions, "list_redemptions", breaks)
    headers = {"Authorization": f"Bearer {sold.key}"}
    got = b""
    with pytest.raises((aiohttp.ClientPayloadError, asyncio.IncompleteReadError)):
        async with sold.http.get("/v1/redemptions/export", headers=headers) as response:
            async for chunk in response.content.iter_any():
                got += chunk
    assert got.count(b"\n") > 100
    assert b"# count=" not in got
