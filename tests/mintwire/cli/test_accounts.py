"""Programs, partners, keys and quotas by the command: created, listed, changed, and refused with a message."""

import pytest

from shared import api_keys
from tests.mintwire.cli.conftest import Merchant, Mintwire


async def test_a_program_is_made_with_a_key_that_works(bare: Mintwire) -> None:
    made = await bare.json("program", "create", "Acme", "--currency", "EUR", "--timezone", "Europe/Berlin")
    assert (made["name"], made["currency"], made["timezone"]) == ("Acme", "EUR", "Europe/Berlin")
    bare.environment["MINTWIRE_PROGRAM_KEY"] = made["api_key"]
    assert await bare.json("partner", "list") == []
    listed = await bare.json("program", "list", "--limit", "250")
    assert made["id"] in [program["id"] for program in listed]
    assert "Acme" in (await bare("program", "list")).out


async def test_a_program_is_made_with_rules_for_its_orders(bare: Mintwire) -> None:
    rules = ("--max-codes-per-order", "2", "--commission-cap-percent", "12.5", "--no-allow-self-referral")
    made = await bare.json("program", "create", "Acme", *rules)
    names = ("max_codes_per_order", "commission_cap_percent", "allow_self_referral")
    assert [made[name] for name in names] == [2, 12.5, False]
    refused = await bare("program", "create", "Acme", "--max-codes-per-order", "11", code=1)
    assert "max_codes_per_order" in refused.err


async def test_a_refused_program_names_the_field(bare: Mintwire) -> None:
    refused = await bare("program", "create", "Acme", "--currency", "nonsense", code=1)
    assert "422, invalid_fields" in refused.err
    assert "currency:" in refused.err
    assert refused.out == ""


async def test_a_wrong_token_is_refused_and_not_repeated(bare: Mintwire) -> None:
    """Terminals are recorded and shared; a token in an error message is a leaked token."""
    bare.environment["MINTWIRE_OPERATOR_TOKEN"] = "wrong-token-that-nobody-should-see"
    refused = await bare("program", "list", code=1)
    assert "401" in refused.err
    assert "wrong-token" not in refused.err


async def test_a_partner_is_approved_and_suspended(mintwire: Mintwire) -> None:
    made = await mintwire.json("partner", "create", "Book Shop", "--email", "hi@books.example")
    assert made["status"] == "pending"
    assert (await mintwire.json("partner", "approve", made["id"]))["status"] == "active"
    assert (await mintwire.json("partner", "suspend", made["id"]))["status"] == "suspended"
    assert [each["id"] for each in await mintwire.json("partner", "list", "--status", "suspended")] == [made["id"]]
    shown = await mintwire("partner", "suspend", made["id"])
    assert shown.out.split()[:2] == ["id", made["id"]]


async def test_a_list_tells_how_to_go_on(mintwire: Mintwire) -> None:
    await mintwire("partner", "create", "Second")
    first = await mintwire("partner", "list", "--limit", "1", "--json")
    assert [each["name"] for each in first.json] == ["Second"]
    cursor = first.err.split("--cursor ")[1].strip()
    rest = await mintwire("partner", "list", "--cursor", cursor, "--json")
    assert [each["name"] for each in rest.json] == ["Flower Shop"]
    assert rest.err == ""


async def test_a_partner_is_refused_in_the_service_s_words(mintwire: Mintwire) -> None:
    await mintwire("partner", "create", "One", "--email", "same@shop.example")
    refused = await mintwire("partner", "create", "Two", "--email", "same@shop.example", code=1)
    assert "422, email_taken" in refused.err
    assert "404, not_found" in (await mintwire("partner", "approve", "no/such partner", code=1)).err


async def test_a_key_is_made_limited_rotated_and_revoked(mintwire: Mintwire, merchant: Merchant) -> None:
    owner = ("--partner", merchant.partner_id)
    made = await mintwire.json("key", "create", *owner, "--scope", "codes:read", "--name", "reader")
    assert (made["scopes"], made["name"]) == (["codes:read"], "reader")
    assert api_keys.parse(made["key"]) is not None
    refused = await mintwire("key", "rotate", made["id"], *owner, code=1)
    assert "409, too_many_live_keys" in refused.err
    assert (await mintwire.json("key", "limit", made["id"], "7", *owner))["rate_limit_per_minute"] == 7
    assert (await mintwire.json("key", "limit", made["id"], "none", *owner))["rate_limit_per_minute"] is None
    listed = await mintwire.json("key", "list", *owner)
    assert len(listed) == 2
    assert made["key"] not in str(listed)
    assert (await mintwire.json("key", "revoke", made["id"], *owner))["revoked_at"] is not None
    [first] = [key["id"] for key in listed if key["id"] != made["id"]]
    assert (await mintwire.json("key", "rotate", first, *owner))["id"] != first


async def test_a_program_s_key_may_be_publishable(mintwire: Mintwire, merchant: Merchant) -> None:
    made = await mintwire.json("key", "create", "--program", merchant.program_id, "--publishable")
    assert (made["kind"], made["scopes"]) == ("publishable", ["validate"])


async def test_keys_are_listed_by_who_made_them(mintwire: Mintwire, merchant: Merchant) -> None:
    maker = await mintwire.json("key", "create", "--program", merchant.program_id, "--scope", "manage")
    mintwire.environment["MINTWIRE_PROGRAM_KEY"] = maker["key"]
    made = await mintwire.json("key", "create", "--partner", merchant.partner_id, "--purpose", "spare")
    assert made["made_by"] == maker["id"]
    await mintwire.json("key", "revoke", maker["id"], "--program", merchant.program_id)
    listed = await mintwire("key", "list", "--made-by", maker["id"])
    assert [line.split()[0] for line in listed.out.splitlines()] == ["id", made["id"]]
    refused = await mintwire("key", "list", "--made-by", maker["id"], "--partner", merchant.partner_id, code=2)
    assert "--made-by" in refused.err


@pytest.mark.parametrize("owner", [(), ("--partner", "a", "--program", "b")], ids=["none", "both"])
async def test_a_key_has_one_owner(mintwire: Mintwire, owner: tuple[str, ...]) -> None:
    refused = await mintwire("key", "list", *owner, code=2)
    assert "either --partner or --program" in refused.err


async def test_a_limit_is_a_number(mintwire: Mintwire, merchant: Merchant) -> None:
    refused = await mintwire("key", "limit", "id", "many", "--partner", merchant.partner_id, code=2)
    assert "whole number or `none`" in refused.err


async def test_quota_is_granted_shown_and_accounted_for(mintwire: Mintwire, merchant: Merchant) -> None:
    granted = await mintwire.json("quota", "grant", merchant.partner_id, "5", "--reason", "spring")
    assert (granted["granted"], granted["remaining"]) == (15, 15)
    assert await mintwire.json("quota", "show", merchant.partner_id) == granted
    ledger = await mintwire.json("quota", "ledger", merchant.partner_id)
    assert [(entry["kind"], entry["amount"], entry["reason"]) for entry in ledger] == [
        ("grant", 5, "spring"),
        ("grant", 10, None),
    ]


async def test_a_grant_of_nothing_is_refused(mintwire: Mintwire, merchant: Merchant) -> None:
    refused = await mintwire("quota", "grant", merchant.partner_id, "0", code=1)
    assert "amount:" in refused.err
