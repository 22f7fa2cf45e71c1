"""Coupons, the program's codes, partners and the audit log by the command."""

import uuid

from tests.mintwire.cli.conftest import Merchant, Mintwire


async def test_a_coupon_is_made_listed_shown_changed_and_archived(mintwire: Mintwire) -> None:
    made = await mintwire.json(
        *("coupon", "create", "spring", "--percent", "12.5", "--limit", "10", "--expires", "2030-06-30"),
        *("--duration", "months", "--duration-value", "3", "--code", "SPRING-A", "--code", "SPRING-B"),
        *("--set", "redemptions_per_customer=1", "--set", 'product_ids=["p1"]', "--set", "release_policy=never"),
    )
    assert (made["coupon_discount_amount"], made["redemption_times_value"]) == (12.5, 10)
    assert made["redemption_specific_date_value"].startswith("2030-06-30")
    assert (made["redemptions_per_customer"], made["product_ids"], made["release_policy"]) == (1, ["p1"], "never")
    assert [code["code"] for code in made["promotion_codes"]["data"]] == ["SPRING-A", "SPRING-B"]
    assert await mintwire.json("coupon", "show", "spring") == made
    assert [coupon["uuid_code"] for coupon in await mintwire.json("coupon", "list")] == ["spring", "partner-codes"]
    changed = await mintwire.json("coupon", "update", "spring", "--no-active", "--unlimited", "--never-expires")
    assert (changed["active"], changed["redemption_times_value"]) == (False, None)
    assert changed["redemption_specific_date_value"] is None
    assert "spring" in (await mintwire("coupon", "list", "--no-active")).out
    static = await mintwire.json("coupon", "create", "--amount", "5", "--currency", "EUR")
    assert (static["coupon_discount_type"], static["coupon_discount_currency"]) == ("static", "EUR")
    assert (await mintwire.json("coupon", "archive", "spring"))["deleted_at"] is not None
    assert "404, not_found" in (await mintwire("coupon", "show", "spring", code=1)).err


async def test_what_a_coupon_cannot_be_is_told(mintwire: Mintwire) -> None:
    for wrong in ((), ("--percent", "5", "--amount", "5")):
        assert "either --percent or --amount" in (await mintwire("coupon", "create", *wrong, code=2)).err
    refused = await mintwire("coupon", "create", "--percent", "101", code=1)
    assert "coupon_discount_amount:" in refused.err
    assert "NAME=VALUE" in (await mintwire("coupon", "create", "--percent", "5", "--set", "x", code=2)).err


async def test_a_dry_run_shows_a_coupon_and_makes_none(mintwire: Mintwire, merchant: Merchant) -> None:
    options = ("--percent", "10", "--expires", "2030-06-30", "--dry-run")
    dry = await mintwire.json("coupon", "create", "spring", *options)
    assert (dry["data"]["uuid_code"], dry["dry_run"]) == ("spring", True)
    assert dry["ends_at"].startswith("2030-06-30T23:59:59.999999")
    assert "404" in (await mintwire("coupon", "show", "spring", code=1)).err
    await mintwire("coupon", "create", "spring", "--percent", "10")
    changed = await mintwire.json("coupon", "update", "spring", "--percent", "20", "--dry-run")
    assert changed["data"]["coupon_discount_amount"] == 20
    assert (await mintwire.json("coupon", "show", "spring"))["coupon_discount_amount"] == 10


async def test_codes_are_made_listed_shown_changed_and_archived_as_the_program(
    mintwire: Mintwire, merchant: Merchant
) -> None:
    await mintwire("coupon", "create", "spring", "--percent", "10")
    made = await mintwire.json(
        *("code", "create", "spring", "SPRING-VIP", "--limit", "1", "--expires", "2030-06-30"),
        *("--partner", merchant.partner_id, "--customer", "c1", "--set", "external_id=x1"),
    )
    assert (made["code"], made["partner_id"], made["redemption_times_value"]) == ("SPRING-VIP", merchant.partner_id, 1)
    other = await mintwire.json("code", "create", "spring")
    generated = await mintwire.json("code", "generate")
    for options, codes in (
        (("--program",), [generated["code"], other["code"], "SPRING-VIP"]),
        (("--coupon", "spring"), [other["code"], "SPRING-VIP"]),
        (("--partner", merchant.partner_id), [generated["code"], "SPRING-VIP"]),
        (("--partner", "nobody@acme.example"), []),
        (("--customer", "c1"), ["SPRING-VIP"]),
        (("--external-id", "x1", "--active"), ["SPRING-VIP"]),
        (("--no-active",), []),
        (("--program", "--prefix", "spr1ng-v"), ["SPRING-VIP"]),
        (("--program", "--created-before", "2026-01-01"), []),
        (("--batch", "0192a3b4-0000-7000-8000-000000000000"), []),
    ):
        assert [code["code"] for code in await mintwire.json("code", "list", *options)] == codes, options
    shown = (await mintwire("code", "list", "--coupon", "spring")).out
    assert "spring" in shown
    assert made["created_by_key_id"] in shown
    told = await mintwire("code", "list", "--coupon", "spring", "--status", "active", "--count", "--limit", "1")
    assert "2 match" in told.err
    assert "2 match" in (await mintwire("coupon", "list", "--count")).err
    assert "1 match" in (await mintwire("partner", "list", "--count")).err
    assert (await mintwire.json("code", "show", "spring vip", "--program"))["id"] == made["id"]
    changed = await mintwire.json("code", "update", "SPRING-VIP", "--no-active", "--no-partner", "--rename", "VIP")
    assert (changed["code"], changed["active"], changed["partner_id"]) == ("VIP", False, None)
    assert (await mintwire.json("code", "archive", "vip"))["deleted_at"] is not None
    assert "404, not_found" in (await mintwire("code", "show", "VIP", "--program", code=1)).err


async def test_a_partner_is_changed_and_archived(mintwire: Mintwire, merchant: Merchant) -> None:
    made = await mintwire.json("partner", "create", "Book Shop", "--first-name", "John", "--last-name", "Doe")
    assert (made["first_name"], made["last_name"]) == ("John", "Doe")
    changed = await mintwire.json(
        *("partner", "update", made["id"], "--email", "j@books.example", "--quota-low-threshold", "5"),
        *("--set", 'metadata={"tier": 1}'),
    )
    assert (changed["email"], changed["quota_low_threshold"], changed["metadata"]) == (
        "j@books.example",
        5,
        {"tier": 1},
    )
    assert await mintwire.json("partner", "show", made["id"]) == changed
    assert (await mintwire.json("partner", "archive", made["id"]))["status"] == "suspended"
    assert [partner["id"] for partner in await mintwire.json("partner", "list")] == [merchant.partner_id]
    told = await mintwire.json("audit", "list", "--object", made["id"])
    assert [entry["action"] for entry in told] == ["partner.archived", "partner.updated", "partner.created"]
    assert "partner.updated" in (await mintwire("audit", "list", "--action", "partner.updated")).out
    for by in ("--key", "--account"):
        assert await mintwire.json("audit", "list", by, str(uuid.uuid4())) == []
