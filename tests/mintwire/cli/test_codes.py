"""Codes by the command, as the partner: generated once per idempotency key, shown even after a refusal, found again."""

import pytest

from tests.mintwire.cli.conftest import Merchant, Mintwire


async def test_a_code_is_generated_listed_and_shown_in_any_spelling(mintwire: Mintwire) -> None:
    made = await mintwire.json("code", "generate")
    assert made["code"].startswith("FLOWER-")
    assert made["url"] == f"https://acme.example/?promo={made['code']}"
    shown = await mintwire.json("code", "show", made["code"].lower().replace("-", " "))
    assert (shown["code"], shown["status"]) == (made["code"], "active")
    assert [code["code"] for code in await mintwire.json("code", "list")] == [made["code"]]
    assert await mintwire.json("code", "list", "--status", "redeemed") == []
    assert [code["code"] for code in await mintwire.json("code", "list", "--prefix", "fl0wer")] == [made["code"]]
    assert await mintwire.json("code", "list", "--prefix", "fl0wer", "--created-before", "2026-01-01") == []
    assert "1 match" in (await mintwire("code", "list", "--count")).err
    assert "code_prefix" in (await mintwire("code", "list", "--prefix", "flo", code=1)).err
    assert made["code"] in (await mintwire("code", "list")).out


async def test_several_codes_differ_and_are_the_same_again_under_one_key(mintwire: Mintwire) -> None:
    made = await mintwire.json("code", "generate", "--count", "3", "--idempotency-key", "order-7")
    again = await mintwire.json("code", "generate", "--count", "3", "--idempotency-key", "order-7")
    assert len({code["code"] for code in made}) == 3
    assert again == made
    one = await mintwire.json("code", "generate", "--idempotency-key", "order-8")
    assert await mintwire.json("code", "generate", "--idempotency-key", "order-8") == one


async def test_codes_made_before_a_refusal_are_shown(mintwire: Mintwire, merchant: Merchant) -> None:
    """They are charged to the quota, so they must not get lost."""
    refused = await mintwire("code", "generate", "--count", "12", "--json", code=1)
    assert len(refused.json) == 10
    assert "10 of 12 codes generated; then:" in refused.err
    assert "403" in refused.err
    assert (await mintwire.json("quota", "show", merchant.partner_id))["remaining"] == 0


async def test_an_unknown_code_is_refused(mintwire: Mintwire) -> None:
    assert "404" in (await mintwire("code", "show", "FLOWER-NOTHING", code=1)).err


async def test_more_than_a_hundred_are_refused_at_once(mintwire: Mintwire, merchant: Merchant) -> None:
    refused = await mintwire("code", "generate", "--count", "101", code=2)
    assert "100" in refused.err
    assert (await mintwire.json("quota", "show", merchant.partner_id))["remaining"] == 10


@pytest.mark.parametrize("code", ["export", "10 % OFF", "A%2FB&C#1", "АКЦИЯ-20", "+5"])
async def test_codes_like_paths_and_with_marks_are_shown_changed_and_archived(mintwire: Mintwire, code: str) -> None:
    await mintwire("coupon", "create", "spring", "--percent", "10")
    made = await mintwire.json("code", "create", "spring", code)
    assert made["code"] == code
    assert (await mintwire.json("code", "show", "--program", code))["id"] == made["id"]
    assert (await mintwire.json("code", "update", code, "--no-active"))["active"] is False
    assert (await mintwire.json("code", "archive", code))["id"] == made["id"]


async def test_a_reference_shows_the_same_code_again(mintwire: Mintwire, merchant: Merchant) -> None:
    made = await mintwire.json("code", "generate", "--reference", "order-9")
    assert await mintwire.json("code", "generate", "--reference", "order-9") == made
    assert [code["code"] for code in await mintwire.json("code", "list", "--reference", "order-9")] == [made["code"]]
    assert await mintwire.json("code", "list", "--reference", "none") == []
    assert (await mintwire.json("quota", "show", merchant.partner_id))["remaining"] == 9
    assert "--count" in (await mintwire("code", "generate", "--reference", "a", "--count", "2", code=2)).err
