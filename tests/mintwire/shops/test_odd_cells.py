"""Cells of shops' exports that another plugin, another version or a spreadsheet wrote differently."""

import pytest

from mintwire.shops import shopify, stripe, woocommerce
from tests.mintwire.shops.test_shops import by_code, plan_of, refused


@pytest.mark.parametrize(
    "written",
    ["12|34", "12, 34", "[12,34]", '["12", "34"]', "a:2:{i:0;i:12;i:1;i:34;}", 'a:2:{i:0;i:12;i:1;s:2:"34";}'],
)
def test_products_are_the_same_in_every_form_of_a_list(written: str) -> None:
    """Otherwise the code would be for products that there are not, which no one would notice before a checkout."""
    cell = written.replace('"', '""')
    lines = ["code,discount_type,amount,product_ids,exclude_product_ids\n", f'A1,percent,5,"{cell}",[]\n']
    terms = by_code(plan_of("woocommerce", woocommerce, lines))["A1"].terms
    assert (terms["product_ids"], "excluded_product_ids" in terms) == (["12", "34"], False)


@pytest.mark.parametrize("written", ['{"12": true}', "a:1:{i:0;a:0:{}}", "a:2:{i:0;i:12;", "[[12]]", '"Shoes"; 34'])
def test_products_that_cannot_be_read_are_refused(written: str) -> None:
    cell = written.replace('"', '""')
    lines = ["code,discount_type,amount,product_ids\n", f'A1,percent,5,"{cell}"\n']
    (reason,) = refused(plan_of("woocommerce", woocommerce, lines)).values()
    assert reason.startswith("product_ids must be a list of ids")


def test_a_coupon_that_is_scheduled_there_does_not_hold_before() -> None:
    """There nobody finds it until it is published."""
    header = "code,discount_type,amount,post_status,post_date\n"
    lines = [
        header,
        "A1,percent,5,future,2031-01-01 10:00:00\n",
        "A2,percent,5,future,\n",
        "A3,percent,5,publish,2020\n",
    ]
    plan = plan_of("woocommerce", woocommerce, lines)
    members = {code: made.members for code, made in by_code(plan).items()}
    assert {code: (each["active"], each["starts_at"]) for code, each in members.items()} == {
        "A1": ("true", "2031-01-01 10:00:00"),
        "A2": ("false", ""),
        "A3": ("true", ""),
    }
    assert [(each.line, each.is_refused) for each in plan.remarks] == [(3, False)]


def test_a_discount_that_is_two_things_is_none() -> None:
    header = "Code,Coupon Percent Off,Coupon Amount Off,Coupon Currency,Coupon Duration,Times Redeemed\n"
    lines = [header, "A1,50%,,,once,0\n", "A2,50,10,usd,once,0\n", "A3,50,0,usd,once,0\n"]
    plan = plan_of("stripe", stripe, lines)
    assert {code: made.terms["coupon_discount_amount"] for code, made in by_code(plan).items()} == {"A1": 50, "A3": 50}
    assert refused(plan) == {3: "it has both a percentage and an amount"}


def test_what_spreadsheets_make_of_cells_is_read_back() -> None:
    header = "Name,Value,Value Type,Applies Once Per Customer,Usage Limit Per Code,Times Used In Total\n"
    lines = [
        header,
        '"=""00123""",-10%,percentage,FALSCH,10,3\n',
        'B,"-1,250.00",fixed_amount,wahr,,"1 203"\n',
        "C,-10,percentage,,1.000,3\n",
        "D,-10%,fixed_amount,,,3\n",
    ]
    plan = plan_of("shopify", shopify, lines)
    codes = by_code(plan)
    assert codes["00123"].terms["coupon_discount_amount"] == 10
    assert (codes["B"].terms["coupon_discount_amount"], codes["B"].uses) == (1250, 1203)
    assert codes["B"].terms["redemptions_per_customer"] == 1
    assert list(refused(plan)) == [4, 5]
