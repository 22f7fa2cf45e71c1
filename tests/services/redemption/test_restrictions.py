"""What restricts a code's use beside counts: minima, customers, partners, products; and what discounts come to."""

from typing import Any

import asyncpg
import pytest

from tests.services.redemption.conftest import Decider, told
from tests.services.redemption.merchant import Merchant, checkout

USD = {"currency": "USD", "subtotal": 2500}
ANNA = {"id": "anna"}
Connection = asyncpg.Connection


class TestRestrictions:
    @pytest.mark.parametrize(
        ("coupon", "code", "asked", "reason"),
        [
            (
                {},
                {"is_limited_to_customer": True, "customer_id": "anna"},
                {"customer": {"id": "bob"}},
                "customer_mismatch",
            ),
            ({}, {"is_limited_to_customer": True, "customer_id": "anna"}, {}, "customer_mismatch"),
            ({}, {"is_limited_to_partner": True}, {"customer": {"email": "else@acme.example"}}, "partner_only"),
            ({}, {"is_first_order_only": True}, {"customer": ANNA}, "first_order_only"),
            (
                {"is_first_order_only": True},
                {},
                {"customer": {"id": "anna", "is_first_order": False}},
                "first_order_only",
            ),
            ({"customer_redemption_limit": 1}, {}, {}, "customer_required"),
            ({"minimum_minor": 2501, "minimum_currency": "USD"}, {}, {"order": USD}, "minimum_not_met"),
            ({"minimum_minor": 1, "minimum_currency": "EUR"}, {}, {"order": USD}, "currency_mismatch"),
            ({"minimum_minor": 1, "minimum_currency": "USD"}, {}, {}, "order_required"),
            ({}, {"minimum_minor": 2501, "minimum_currency": "USD"}, {"order": USD}, "minimum_not_met"),
            ({"product_ids": ["p1"]}, {}, {"order": USD}, "order_items_required"),
            ({"product_ids": ["p1"]}, {}, {"order": USD | {"items": [{"product_id": "p2"}]}}, "product_not_eligible"),
            ({"budget_minor": 2499, "budget_currency": "USD"}, {}, {"order": USD}, "budget_exhausted"),
            ({"budget_minor": 2499, "budget_currency": "EUR"}, {}, {"order": USD}, "currency_mismatch"),
            ({"budget_minor": 2499, "budget_currency": "USD"}, {}, {}, "order_required"),
            ({"max_discount_minor": 1, "currency": "EUR"}, {}, {"order": USD}, "currency_mismatch"),
        ],
    )
    async def test_each_refuses_with_its_reason(
        self,
        decider: Decider,
        merchant: Merchant,
        coupon: dict[str, Any],
        code: dict[str, Any],
        asked: dict[str, Any],
        reason: str,
    ) -> None:
        program = await merchant.program()
        made = await merchant.coupon(program)
        if coupon:
            await merchant.restrict_coupon(made, **coupon)
        text = await merchant.code(program, made, "PLAIN", partner_id=await merchant.partner(program))
        if code:
            await merchant.restrict_code(text, **code)
        assert told(await decider.take(checkout(program, "PLAIN", **asked))) == [reason]

    @pytest.mark.parametrize(
        ("coupon", "code", "asked"),
        [
            ({}, {"is_limited_to_customer": True, "customer_id": "anna"}, {"customer": ANNA}),
            ({}, {"is_first_order_only": True}, {"customer": {"is_first_order": True}}),
            ({"minimum_minor": 2500, "minimum_currency": "USD"}, {}, {"order": USD}),
            (
                {"product_ids": ["p1", "7"]},
                {},
                {"order": USD | {"items": [{"sku": 1}, {"product_id": 7, "amount": 100}]}},
            ),
            ({"budget_minor": 2500, "budget_currency": "USD"}, {}, {"order": USD}),
        ],
    )
    async def test_what_is_just_inside_is_redeemed(
        self,
        decider: Decider,
        merchant: Merchant,
        coupon: dict[str, Any],
        code: dict[str, Any],
        asked: dict[str, Any],
    ) -> None:
        program = await merchant.program()
        made = await merchant.coupon(program)
        if coupon:
            await merchant.restrict_coupon(made, **coupon)
        text = await merchant.code(program, made, "PLAIN")
        if code:
            await merchant.restrict_code(text, **code)
        assert told(await decider.take(checkout(program, "PLAIN", **asked))) == ["code.redeemed"]

    async def test_a_code_without_a_limit_has_the_one_that_its_coupon_sets_for_each(
        self, decider: Decider, merchant: Merchant
    ) -> None:
        program = await merchant.program()
        made = await merchant.coupon(program)
        await merchant.restrict_coupon(made, code_redemption_limit=1)
        for text in ("FIRST", "SECOND"):
            await merchant.code(program, made, text, limit=None)
        await merchant.code(program, made, "THIRD", limit=2)
        orders = [
            checkout(program, text, order_ref=f"{text}{n}") for text in ("FIRST", "SECOND", "THIRD") for n in (1, 2)
        ]
        done, used = "code.redeemed", "code_used"
        assert told(await decider.take(*orders)) == [done, used, done, used, done, done]

    @pytest.mark.parametrize("by", ["id", "email"])
    async def test_a_partners_own_code_is_for_the_partner_known_by_id_or_address(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]", by: str
    ) -> None:
        program = await merchant.program()
        partner = await merchant.partner(program)
        await admin.execute("UPDATE codes.partners SET email_canonical = 'dev@acme.example'")
        code = await merchant.code(program, await merchant.coupon(program), "MINE", partner_id=partner)
        await merchant.restrict_code(code, is_limited_to_partner=True)
        customer = {"id": str(partner)} if by == "id" else {"email": " Dev@ACME.example"}
        assert told(await decider.take(checkout(program, "MINE", customer=customer))) == ["code.redeemed"]


class TestDiscounts:
    @pytest.mark.parametrize(
        ("made", "coupon", "order", "applied"),
        [
            ({"percent": 5000}, {"max_discount_minor": 300, "currency": "USD"}, USD, 300),
            ({"amount": 500, "currency": "USD"}, {"amounts_by_currency": '{"EUR": 450}'}, USD, 500),
            (
                {"amount": 500, "currency": "USD"},
                {"amounts_by_currency": '{"EUR": 450}'},
                {"currency": "EUR", "subtotal": 2500},
                450,
            ),
            (
                {"percent": 5000},
                {"product_ids": ["p1"]},
                USD | {"items": [{"product_id": "p1", "amount": 1000}, {"product_id": "p2", "amount": 1500}]},
                500,
            ),
            (
                {"amount": 2000, "currency": "USD"},
                {"product_ids": ["p1"]},
                USD | {"items": [{"product_id": "p1", "amount": 1000}]},
                1000,
            ),
        ],
    )
    async def test_caps_currencies_and_products(
        self,
        decider: Decider,
        merchant: Merchant,
        made: dict[str, Any],
        coupon: dict[str, Any],
        order: dict[str, Any],
        applied: int,
    ) -> None:
        program = await merchant.program()
        coupon_id = await merchant.coupon(program, **made)
        await merchant.restrict_coupon(coupon_id, **coupon)
        await merchant.code(program, coupon_id, "PLAIN")
        (event,) = await decider.take(checkout(program, "PLAIN", order=order))
        assert (event["event"], event["discount"]["applied_minor"]) == ("code.redeemed", applied)
        assert event["discount"]["currency"] == order["currency"]

    async def test_a_currency_in_which_the_code_takes_nothing_off_is_refused(
        self, decider: Decider, merchant: Merchant
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program, amount=500, currency="USD"), "FIVE")
        order = {"currency": "EUR", "subtotal": 2500}
        assert told(await decider.take(checkout(program, "FIVE", order=order))) == ["currency_mismatch"]

    @pytest.mark.parametrize(
        ("kind", "value", "ends_at"),
        [
            ("once", None, "2026-03-18T12:00:00Z"),
            ("hours", 48, "2026-03-20T12:00:00Z"),
            ("days", 1, "2026-03-19T12:00:00Z"),
            ("months", 3, "2026-06-18T12:00:00Z"),
            ("years", 1, "2027-03-18T12:00:00Z"),
            ("lifetime", None, None),
        ],
    )
    async def test_a_redemption_tells_how_long_its_discount_is_granted(
        self, decider: Decider, merchant: Merchant, kind: str, value: int | None, ends_at: str | None
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, duration_type=kind, duration_value=value)
        await merchant.code(program, coupon, "PLAIN")
        (event,) = await decider.take(checkout(program, "PLAIN"))
        assert event["discount_ends_at"] == ends_at
