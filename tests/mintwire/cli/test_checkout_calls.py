"""A shop's requests over HTTP by the command, and orders cancelled and refunded by event."""

from tests.mintwire.cli.conftest import Merchant, Mintwire


async def code_of(mintwire: Mintwire) -> str:
    return str((await mintwire.json("code", "generate"))["code"])


async def test_a_code_is_validated_reserved_redeemed_and_voided(mintwire: Mintwire) -> None:
    code = await code_of(mintwire)
    price = ("--currency", "USD", "--subtotal", "2900")
    valid = await mintwire.json("checkout", "validate", code, *price)
    assert (valid["valid"], valid["order"]["total"]) == (True, 0)
    reserved = await mintwire.json("checkout", "reserve", code, "--order-ref", "order-1", "--ttl-seconds", "60", *price)
    assert (await mintwire.json("checkout", "validate", code, code=1))["codes"][0]["reason"] == "code_held"
    assert (await mintwire.json("checkout", "validate", code, "--order-ref", "order-1"))["valid"]
    await mintwire("checkout", "release", reserved["id"])
    redeemed = await mintwire.json("checkout", "redeem", code, "--order-ref", "order-2", "--customer-id", "c-1")
    [redemption] = redeemed["redemptions"]
    refused = await mintwire("checkout", "redeem", code, code=1)
    assert "code_used" in refused.err
    voided = await mintwire.json("checkout", "void", redemption["id"], "--reason", "fraud")
    assert (voided["status"], voided["void_reason"]) == ("voided", "fraud")
    assert f"{code}  yes" in (await mintwire("checkout", "validate", code)).out


async def test_a_cancelled_order_gives_its_codes_back_and_tells_of_each(mintwire: Mintwire) -> None:
    codes = ["SPRING-25", "HELLO-10"]
    await mintwire("coupon", "create", "spring", "--percent", "25", "--code", codes[0])
    await mintwire("coupon", "create", "hello", "--percent", "10", "--code", codes[1])
    await mintwire("checkout", "redeem", *codes, "--order-ref", "order-1")
    cancelled = await mintwire.json("checkout", "cancel", "order-1", "--reason", "payment failed")
    assert {event["code"] for event in cancelled["voided"]} == set(codes)
    assert all(event["is_released"] and event["reason"] == "payment failed" for event in cancelled["voided"])
    again = await mintwire("checkout", "cancel", "order-1", "--timeout", "0.5", code=3)
    assert "already cancelled or refunded" in again.err


async def test_a_refund_of_a_part_is_published_and_voids_nothing(mintwire: Mintwire) -> None:
    code = "SPRING-25"
    await mintwire("coupon", "create", "spring", "--percent", "25", "--code", code)
    price = ("--currency", "USD", "--subtotal", "2900")
    await mintwire("checkout", "redeem", code, "--order-ref", "order-1", *price)
    part = await mintwire.json("checkout", "refund", "order-1", "--amount", "500")
    assert part["voided"] == []
    whole = await mintwire("checkout", "refund", "order-1", "--keep-use")
    assert f"voided    {code}  its use stays taken" in whole.out


async def test_a_code_for_first_orders_is_asked_about_by_both_doors(mintwire: Mintwire) -> None:
    code = "HELLO-10"
    coupon = ("--percent", "10", "--code", code, "--set", "first_time_order=true")
    await mintwire("coupon", "create", "hello", *coupon)
    for flag, is_valid in (("--no-first-order", False), ("--first-order", True)):
        asked = await mintwire.json("checkout", "validate", code, flag, code=0 if is_valid else 1)
        assert asked["valid"] is is_valid
    again = await mintwire("checkout", "complete", code, "--no-first-order", code=1)
    assert "first_order_only" in again.err
    done = await mintwire.json("checkout", "complete", code, "--first-order", "--order-ref", "order-1")
    assert done["redeemed"][0]["customer"]["is_first_order"] is True


async def test_a_publishable_key_is_told_yes_or_no(mintwire: Mintwire, merchant: Merchant) -> None:
    code = await code_of(mintwire)
    made = await mintwire.json("key", "create", "--program", merchant.program_id, "--publishable")
    assert (await mintwire.json("checkout", "validate", code, "--key", made["key"]))["valid"]
    refused = await mintwire.json("checkout", "validate", "UNKNOWN-CODE", "--key", made["key"], code=1)
    assert (refused["valid"], refused["codes"]) == (False, [])


async def test_what_the_service_refuses_is_told_in_its_words(mintwire: Mintwire) -> None:
    assert "order.currency" in (await mintwire("checkout", "validate", "X", "--currency", "dollars", code=1)).err
    assert "404" in (await mintwire("checkout", "void", "01890a5d-ac96-774b-bcce-b302099a8057", code=1)).err
    assert "404" in (await mintwire("checkout", "release", "01890a5d-ac96-774b-bcce-b302099a8057", code=1)).err
    assert "amount" in (await mintwire("checkout", "refund", "order-1", "--amount", "-5", code=2)).err


async def test_an_order_is_shown_in_parts_that_are_told_apart(mintwire: Mintwire) -> None:
    code = await code_of(mintwire)
    await mintwire("checkout", "redeem", code, "--order-ref", "order-1")
    await mintwire("checkout", "redeem", "NO-SUCH-CODE", "--order-ref", "order-1", code=1)
    shown = (await mintwire("order", "show", "order-1")).out
    assert "\n\nredemptions\n" in shown
    assert "\n\nrejections\n" in shown
