"""What a dry run of the coupon API returns as terms is what a validation of a draft takes, and both mean the coupon."""

import dataclasses
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import pytest

from services.redemption.api.draft_validations import DraftCouponBody
from services.redemption.app import open_database
from shared.draft_coupons import DraftCoupon
from tests.databases import Database
from tests.services.codes.conftest import HeldClock, Owner, Service, running_service
from tests.services.codes.coupon_requests import DOCUMENTED, SHORTEST, STATIC
from tests.services.redemption.conftest import Decider, Shop, open_shop

ITEMS: Final = [{"product_id": "X", "amount": 3_000}, {"product_id": "Y", "amount": 2_000}]
ORDER: Final = {"currency": "EUR", "subtotal": 5_000, "items": ITEMS}
COUPONS: Final[dict[str, dict[str, Any]]] = {
    "the documented one": {**DOCUMENTED},
    "a percentage with a fraction": {**SHORTEST, "coupon_discount_amount": 12.5},
    "a maximum": {**SHORTEST, "coupon_discount_amount": 90, "coupon_discount_max_amount": 7.5},
    "an amount": {**STATIC, "coupon_discount_amount": 4.99},
    "an amount in other currencies": {
        **STATIC,
        "coupon_discount_currency": "USD",
        "coupon_discount_amounts": {"EUR": 3},
    },
    "an amount in another currency": {**STATIC, "coupon_discount_currency": "USD"},
    "some products": {**SHORTEST, "product_ids": ["X"], "coupon_discount_amount": 50},
    "without some products": {**SHORTEST, "excluded_product_ids": ["X"], "coupon_discount_amount": 50},
    "other products": {**SHORTEST, "product_ids": ["Z"]},
    "a minimum": {**SHORTEST, "minimum_order_value": 50.01},
    "a minimum of some products": {**SHORTEST, "minimum_order_value": 40, "product_ids": ["X"]},
    "a minimum of the order": {
        **SHORTEST,
        "minimum_order_value": 40,
        "product_ids": ["X"],
        "minimum_applies_to": "order",
    },
    "a first order": {**SHORTEST, "first_time_order": True},
    "switched off": {**SHORTEST, "active": False},
    "later": {**SHORTEST, "starts_at": "2090-01-01"},
    "over": {
        **SHORTEST,
        "redemption_specific_date_status": True,
        "redemption_specific_date_value": "2020-01-31",
    },
    "used up elsewhere": {
        **SHORTEST,
        "redemption_times_status": True,
        "redemption_times_value": 3,
        "opening_uses": 3,
    },
    "a budget": {**SHORTEST, "budget_amount": 4.99, "coupon_discount_amount": 10},
    "limits": {
        **SHORTEST,
        "redemptions_per_code": 1,
        "redemptions_per_customer": 1,
        "redemptions_per_day": 1,
        "redemptions_per_week": 2,
        "redemptions_per_month": 3,
        "budget_amount": 5,
        "combination": "none",
        "release_policy": "never",
        "commission_percent": 12.5,
    },
}


@asynccontextmanager
async def _both(database: Database) -> AsyncIterator[tuple[Service, Owner, Shop]]:
    clock = HeldClock()
    async with running_service(database, clock) as codes, open_database(database.redemption, 2) as pool:
        program = await codes.program(currency="EUR", timezone="Europe/Berlin")
        decider = Decider(pool)
        decider.now = clock()
        async with open_shop(pool, uuid.UUID(program.id), program.key, decider) as shop:
            yield codes, program, shop


@pytest.mark.parametrize("name", COUPONS)
async def test_a_draft_takes_off_what_the_coupon_does(name: str, database: Database) -> None:
    """A merchant would be shown one price in the form, and customers another."""
    body, asks = COUPONS[name], {"order": ORDER, "customer": {"id": "c-1", "is_first_order": False}}
    async with _both(database) as (codes, program, shop):
        dry = await codes.send("POST", "/v1/coupons?dry_run=true", program.key, body)
        assert dry.status == 200, dry.body
        draft = await shop.send("POST", "/v1/validations/drafts", {"coupon": dry.body["terms"], **asks})
        assert draft.status == 200, draft.body
        made = await codes.send("POST", "/v1/coupons", program.key, {**body, "promotion_codes": ["REAL"]})
        assert made.status == 201, made.body
        # A code is on or off by itself; here the coupon is meant.
        assert (await codes.send("PATCH", "/v1/promotion-codes/REAL", program.key, {"active": True})).status == 200
        real = await shop.send("POST", "/v1/validations", {"codes": ["REAL"], **asks})
    [verdict] = real.data["codes"]
    names = ("valid", "reason", "discount")
    assert {each: draft.data[each] for each in names} == {each: verdict[each] for each in names}
    assert draft.data["order"] == real.data["order"]


async def test_the_shape_is_that_of_the_published_view(database: Database) -> None:
    """A member that only one side knows would be left out of the price without a word."""
    names = [each.name for each in dataclasses.fields(DraftCoupon)]
    assert list(DraftCouponBody.model_fields) == names
    connection = await asyncpg.connect(database.admin)
    try:
        columns = await connection.fetch(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = 'codes' AND table_name = 'redeemable_v1'"
        )
    finally:
        await connection.close()
    assert set(names) <= {row["column_name"] for row in columns}
