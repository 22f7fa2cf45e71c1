"""Drafts of coupons tried on an order: who may, which terms hang together, and that nothing is read or kept."""

import uuid
from typing import Any

import pytest

from tests.services.redemption.conftest import Shop
from tests.services.redemption.merchant import Merchant
from tests.services.redemption.test_accounts import token

PATH = "/v1/validations/drafts"
QUARTER: dict[str, Any] = {"discount_type": "percent", "percent_hundredths": 2_500}
FIVE: dict[str, Any] = {"discount_type": "static", "amount_minor": 500, "currency": "EUR"}
ORDER: dict[str, Any] = {"currency": "EUR", "subtotal": 4_900}


@pytest.fixture(autouse=True)
async def manager(shop: Shop, merchant: Merchant) -> None:
    shop.key = await merchant.key(shop.program_id, "manage")


async def test_a_draft_is_answered_with_its_discount_and_the_totals(shop: Shop) -> None:
    items = [{"product_id": "X", "amount": 900}, {"product_id": "Y", "amount": 4_000}]
    found = await shop.send(
        "POST", PATH, {"coupon": QUARTER | {"product_ids": ["Y"]}, "order": ORDER | {"items": items}}
    )
    assert found.data == {
        "valid": True,
        "reason": None,
        "detail": None,
        "discount": {
            "type": "percent",
            "percent_hundredths": 2_500,
            "amount_minor": None,
            "currency": "EUR",
            "applied_minor": 1_000,
            "lines": [{"line": 1, "product_id": "Y", "discount_minor": 1_000}],
        },
        "order": {"currency": "EUR", "subtotal": 4_900, "discount": 1_000, "total": 3_900},
    }


async def test_a_refusal_says_why(shop: Shop) -> None:
    short = QUARTER | {"coupon_minimum_minor": 5_000, "coupon_minimum_currency": "EUR"}
    found = (await shop.send("POST", PATH, {"coupon": short, "order": ORDER})).data
    assert (found["valid"], found["reason"], found["discount"]) == (False, "minimum_not_met", None)
    assert found["order"] == {"currency": "EUR", "subtotal": 4_900, "discount": 0, "total": 4_900}
    # What needs an order or a customer says so.
    assert (await shop.send("POST", PATH, {"coupon": short})).data["reason"] == "order_required"
    per_customer = QUARTER | {"customer_redemption_limit": 1}
    assert (await shop.send("POST", PATH, {"coupon": per_customer, "order": ORDER})).data[
        "reason"
    ] == "customer_required"
    named = {"customer": {"id": "c-1", "email": "jane@acme.example"}}
    assert (await shop.send("POST", PATH, {"coupon": per_customer, "order": ORDER, **named})).data["valid"] is True


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"discount_type": "percent"}, "percent_hundredths"),
        ({"discount_type": "static", "currency": "EUR"}, "amount_minor"),
        ({"discount_type": "static", "amount_minor": 5}, "currency"),
        (QUARTER | {"amount_minor": 5}, "amount_minor"),
        (QUARTER | {"amounts_by_currency": {"USD": 5}}, "amounts_by_currency"),
        (FIVE | {"percent_hundredths": 5}, "percent_hundredths"),
        (FIVE | {"max_discount_minor": 5}, "max_discount_minor"),
        (QUARTER | {"max_discount_minor": 5}, "currency"),
        (QUARTER | {"budget_minor": 5}, "budget_currency"),
        (QUARTER | {"coupon_minimum_minor": 5}, "coupon_minimum_currency"),
        (QUARTER | {"percent_hundredths": 10_001}, "percent_hundredths"),
        (QUARTER | {"coupon_redemption_limit": 0}, "coupon_redemption_limit"),
        (QUARTER | {"coupon_expires_at": "2030-01-01"}, "coupon_expires_at"),
        (QUARTER | {"colour": "red"}, "colour"),
    ],
)
async def test_terms_that_do_not_hang_together_are_refused_by_name(
    shop: Shop, terms: dict[str, Any], field: str
) -> None:
    refused = await shop.send("POST", PATH, {"coupon": terms, "order": ORDER})
    assert (refused.status, list(refused.body["errors"])) == (422, [f"coupon.{field}"])


async def test_it_is_for_managers_and_for_merchants_accounts(shop: Shop, merchant: Merchant) -> None:
    body = {"coupon": QUARTER, "order": ORDER}
    partner_id = await merchant.partner(shop.program_id)
    for key, status in (
        (await merchant.key(shop.program_id, "checkout"), 403),
        (await merchant.key(shop.program_id, "validate", kind="publishable"), 403),
        (token(shop), 200),
        (token(shop, grade="look"), 200),
        (token(shop, "partner", partner_id=partner_id), 403),
        (token(shop, program_id=uuid.uuid4()), 401),
    ):
        assert (await shop.send("POST", PATH, body, key=key)).status == status


async def test_nothing_is_kept_and_nobody_elses_uses_are_counted(shop: Shop, merchant: Merchant) -> None:
    """A code of the same string is another code."""
    coupon = await merchant.coupon(shop.program_id)
    await merchant.code(shop.program_id, coupon, "DRAFT")
    checkout, shop.key = shop.key, await merchant.key(shop.program_id, "checkout")
    assert (await shop.redeem("DRAFT")).status == 201
    shop.key = checkout
    for _ in range(3):
        once = QUARTER | {"code_redemption_limit": 1, "coupon_redemption_limit": 1, "daily_redemption_limit": 1}
        assert (await shop.send("POST", PATH, {"coupon": once, "order": ORDER})).data["valid"] is True
    assert (await shop.send("GET", "/v1/rejections")).data == []
