"""Each shop's export: which coupons and codes it becomes, and the remarks on the rest."""

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mintwire.shops import shopify, stripe, woocommerce
from mintwire.shops.plan import Plan, ShopCode, make_plan
from mintwire.shops.rows import NotAnExport, NotCarried, read_rows

FILES = Path(__file__).parent
SHOPS = [("shopify", shopify), ("woocommerce", woocommerce), ("stripe", stripe)]


def plan_of(shop: str, module: ModuleType, lines: Iterable[str] | None = None) -> Plan:
    if lines is None:
        with (FILES / f"{shop}.csv").open(encoding="utf-8", newline="") as file:
            return make_plan(shop, list(read_rows(file, module.REQUIRED)), module.read_row)
    return make_plan(shop, list(read_rows(lines, module.REQUIRED)), module.read_row)


def by_code(plan: Plan) -> dict[str, ShopCode]:
    return {code.code: code for coupon in plan.coupons.values() for code in coupon.codes.values()}


def refused(plan: Plan) -> dict[int, str]:
    return {remark.line: remark.reason for remark in plan.remarks if remark.is_refused}


def test_shopify() -> None:
    plan = plan_of("shopify", shopify)
    codes = by_code(plan)
    assert list(codes) == ["WELCOME15", "VIP-15", "summer 10% off", "ÜBER5", "OLD20"]
    assert [len(coupon.codes) for coupon in plan.coupons.values()] == [2, 1, 1, 1]
    welcome = next(iter(plan.coupons.values()))
    assert welcome.body == {
        "uuid_code": welcome.uuid_code,
        "coupon_duration_type": "once",
        "coupon_discount_type": "percent",
        "coupon_discount_amount": 15.0,
        "combination": "none",
        "opening_uses": 37,
    }
    assert (codes["WELCOME15"].uses, codes["WELCOME15"].members["redemption_limit"]) == (37, "100")
    assert codes["ÜBER5"].terms == {
        "coupon_duration_type": "once",
        "coupon_discount_type": "static",
        "coupon_discount_amount": 5.0,
        "minimum_order_value": 50.0,
        "redemptions_per_customer": 1,
        "combination": "none",
    }
    assert codes["OLD20"].members["expires_at"] == "2024-02-01 00:00:00 -0500"
    reasons = refused(plan)
    assert list(reasons) == [7, 8, 9, 10, 11, 12]
    for line, part in zip(reasons, ("shipping", "Buy X", "products", "customers", "minimum", "line 2"), strict=True):
        assert part in reasons[line]
    assert [remark.line for remark in plan.remarks if not remark.is_refused] == [5]


def test_woocommerce() -> None:
    plan = plan_of("woocommerce", woocommerce)
    codes = by_code(plan)
    assert sorted(codes) == ["entwurf", "herbst25", "minus10", "schuhe"]
    assert codes["herbst25"].members == {
        "active": "true",
        "starts_at": "",
        # There it ends at the start of the day.
        "expires_at": "2031-11-30 00:00:00",
        "redemption_limit": "50",
    }
    assert codes["herbst25"].uses == 49
    assert codes["minus10"].terms == {
        "coupon_duration_type": "once",
        "coupon_discount_type": "static",
        "coupon_discount_amount": 10.0,
        "minimum_order_value": 40.0,
        "redemptions_per_customer": 2,
        "combination": "none",
    }
    assert codes["schuhe"].terms["product_ids"] == ["12", "34"]
    assert codes["schuhe"].terms["excluded_product_ids"] == ["56"]
    assert codes["entwurf"].members["active"] == "false"
    assert list(refused(plan)) == [6, 7, 8, 9, 10, 11]


def test_stripe() -> None:
    plan = plan_of("stripe", stripe)
    codes = by_code(plan)
    assert list(codes) == ["LAUNCH50", "LAUNCHVIP", "THANKS", "QUARTER"]
    launch, thanks, quarter = plan.coupons.values()
    # The coupon has its own count: 18 uses of 20, whatever its codes have.
    assert launch.body | {"uuid_code": ""} == {
        "uuid_code": "",
        "coupon_discount_type": "percent",
        "coupon_discount_amount": 50.0,
        "coupon_duration_type": "once",
        "combination": "other_coupons",
        "metadata": {"stripe_coupon": "launch"},
        "redemption_times_status": True,
        "redemption_times_value": 20,
        "opening_uses": 18,
    }
    assert codes["LAUNCH50"].members["expires_at"] == "2031-08-01 12:00 UTC"
    assert codes["LAUNCHVIP"].members["first_time_order"] == "true"
    assert thanks.terms["coupon_discount_amount"] == 20.0
    assert thanks.terms["redemption_specific_date_value"] == "2031-12-31T23:59:00+00:00"
    assert codes["THANKS"].members["customer_id"] == "cus_9s6XKzkNRiz8i3"
    assert (quarter.terms["coupon_duration_type"], quarter.terms["coupon_duration_value"]) == ("months", 3)
    assert codes["QUARTER"].members["active"] == "false"
    assert codes["QUARTER"].members["minimum_order_value"] == "100.00"
    assert refused(plan) == {6: "it takes nothing off"}


def test_stripe_s_coupons_alone_are_codes_and_the_api_s_amounts_are_in_the_smallest_unit() -> None:
    """With `amount_off` 500 is five dollars, and five hundred yen."""
    lines = [
        "id,object,amount_off,currency,duration,max_redemptions,percent_off,redeem_by,times_redeemed,livemode\r\n",
        "FIVE,coupon,500,usd,once,10,,1924991940,4,true\r\n",
        "YEN,coupon,500,jpy,once,,,,0,true\r\n",
        "TEST,coupon,500,jpy,once,,,,0,false\r\n",
    ]
    plan = plan_of("stripe", stripe, lines)
    codes = by_code(plan)
    assert {code: codes[code].terms["coupon_discount_amount"] for code in codes} == {"FIVE": 5.0, "YEN": 500.0}
    assert (codes["FIVE"].members["redemption_limit"], codes["FIVE"].uses) == ("10", 4)
    assert codes["FIVE"].members["expires_at"] == "1924991940"
    assert list(refused(plan)) == [4]


@pytest.mark.parametrize(("shop", "module"), SHOPS)
def test_the_same_terms_have_the_same_name_in_every_file(shop: str, module: ModuleType) -> None:
    """A second run must find the coupons of the first, whatever the order of rows."""
    with (FILES / f"{shop}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = file.readlines()
    again = plan_of(shop, module, [header, *reversed(rows)])
    assert sorted(again.coupons) == sorted(plan_of(shop, module).coupons)


@pytest.mark.parametrize(("shop", "module"), SHOPS)
@pytest.mark.parametrize("change", ["\ufeff{}", "\ufeffsep=,\r\n{}", ",,\n\n{}", "\n;;\nsep=,\n\n{}", ";", "\t", "\r"])
def test_files_are_read_however_they_were_saved(shop: str, module: ModuleType, change: str) -> None:
    text = (FILES / f"{shop}.csv").read_text("utf-8")
    changed = change.format(text) if change.endswith("{}") else text.replace("\n" if change == "\r" else ",", change)
    lines = changed.splitlines(keepends=True)
    plan, plain = plan_of(shop, module, lines), plan_of(shop, module)
    assert list(by_code(plan)) == list(by_code(plain))
    above = change.count("\n")
    assert [each.line for each in plan.remarks] == [each.line + above for each in plain.remarks]


def test_amounts_may_have_a_decimal_comma() -> None:
    """As shops in some countries write them; 1,000 could be two things."""
    lines = [
        "code;discount_type;amount;minimum_amount\n",
        "A1;fixed_cart;12,50;1000,5\n",
        "A2;percent;7,5;\n",
        "A3;fixed_cart;1,000;\n",
        "A4;fixed_cart;1.000,00;\n",
        "A5;fixed_cart;5%;\n",
        "A6;percent;12,5 %;\n",
    ]
    plan = plan_of("woocommerce", woocommerce, lines)
    codes = by_code(plan)
    assert (codes["A1"].terms["coupon_discount_amount"], codes["A1"].terms["minimum_order_value"]) == (12.5, 1000.5)
    assert codes["A2"].terms["coupon_discount_amount"] == 7.5
    assert (codes["A4"].terms["coupon_discount_amount"], codes["A6"].terms["coupon_discount_amount"]) == (1000.0, 12.5)
    assert list(refused(plan)) == [4, 6]
    lines = ["Name;Value;Value Type\n", "B1;-12,50;fixed_amount\n"]
    assert by_code(plan_of("shopify", shopify, lines))["B1"].terms["coupon_discount_amount"] == 12.5


def test_what_shopify_combines_with_orders_discounts_has_other_terms_than_what_it_does_not() -> None:
    """Only discounts on orders are imported."""
    lines = [
        (
            "Name,Value,Value Type,Combines with Order Discounts,Combines with Product Discounts,"
            "Combines with Shipping Discounts\n"
        ),
        "A1,-5,percentage,1,0,0\n",
        "A2,-5,percentage,0,1,0\n",
        "A3,-5,percentage,0,0,1\n",
        "A4,-5,percentage,1,1,1\n",
    ]
    plan = plan_of("shopify", shopify, lines)
    assert [list(coupon.codes) for coupon in plan.coupons.values()] == [[2, 5], [3, 4]]
    assert [coupon.terms["combination"] for coupon in plan.coupons.values()] == ["other_coupons", "none"]
    assert [(remark.line, remark.is_refused) for remark in plan.remarks] == [(3, False)]


@pytest.mark.parametrize(("shop", "module"), SHOPS)
def test_another_file_is_refused_as_a_whole(shop: str, module: ModuleType) -> None:
    for lines in ([], ["\n"], ["Colour,Size\n", "red,5\n"]):
        with pytest.raises(NotAnExport):
            plan_of(shop, module, lines)


def test_rows_that_cannot_be_read_are_named() -> None:
    lines = [
        "Name,Value,Value Type\n",
        "A1,-5,percentage\n",
        "\udcff,-5,percentage\n",
        "B,1,percentage,x\n",
        ",,\n",
        "C,x,y\n",
        "D,-5\n",
    ]
    plan = plan_of("shopify", shopify, lines)
    assert list(by_code(plan)) == ["A1"]
    assert list(refused(plan)) == [3, 4, 6, 7]


def test_a_row_that_was_cut_off_makes_no_code_without_limits() -> None:
    """A truncated row lacks its limits: the code would be valid without them."""
    lines = ["code,discount_type,amount,usage_limit,date_expires,\n", "A1,percent,5,1,\n", "A2,percent,5\n"]
    plan = plan_of("woocommerce", woocommerce, lines)
    assert list(by_code(plan)) == ["A1"]
    assert refused(plan) == {3: "the row has 3 cells, the header 6"}


def test_limits_per_customer_are_those_of_each_code() -> None:
    """In a single coupon a customer's use of one code would block all the others."""
    lines = [
        "code,discount_type,amount,usage_limit,usage_limit_per_user\n",
        "A1,percent,5,,1\n",
        "A2,percent,5,9,1\n",
        "A3,percent,5,1,1\n",
        "A4,percent,5,1,\n",
    ]
    plan = plan_of("woocommerce", woocommerce, lines)
    assert [list(coupon.codes) for coupon in plan.coupons.values()] == [[2], [3], [4, 5]]
    assert [coupon.terms.get("redemptions_per_customer") for coupon in plan.coupons.values()] == [1, 1, None]
    lines = [
        "Name,Value,Value Type,Usage Limit Per Code,Applies Once Per Customer\n",
        "B1,-5,percentage,,1\n",
        "B2,-5,percentage,,1\n",
        "B3,-5,percentage,1,1\n",
        "B4,-5,percentage,,0\n",
    ]
    plan = plan_of("shopify", shopify, lines)
    assert [list(coupon.codes) for coupon in plan.coupons.values()] == [[2], [3], [4, 5]]


def test_what_no_coupon_takes_off_is_refused_before_anything_is_made() -> None:
    """Otherwise a dry run would promise it."""
    amounts = ("100", "12.35", "100.5", "12.345", "-5")
    lines = ["code,discount_type,amount\n", *(f"A{amount},percent,{amount}\n" for amount in amounts)]
    assert list(refused(plan_of("woocommerce", woocommerce, lines))) == [4, 5, 6]


def test_a_duration_without_its_months_is_named() -> None:
    lines = ["code,percent_off,duration,duration_in_months,times_redeemed\n", "A1,5,repeating,,0\n"]
    assert "how many" in refused(plan_of("stripe", stripe, lines))[2]


@pytest.mark.parametrize(("shop", "module"), SHOPS)
@given(data=st.data())
def test_any_row_becomes_a_code_or_a_reason(shop: str, module: Any, data: st.DataObject) -> None:
    """A traceback would end the import of all other rows."""
    with (FILES / f"{shop}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(read_rows(file))
    row = data.draw(st.sampled_from(rows))
    cells = st.sampled_from(["", "0", "yes", "-1", "1e400", "NaN", "99999999999", "2026-13-01 10:00", "x" * 300, "usd"])
    for name in data.draw(st.lists(st.sampled_from(sorted(row.names)), max_size=6)):
        row = type(row)(row.line, {**row.cells, name: data.draw(cells)}, row.names)
    try:
        assert module.read_row(row).terms
    except NotCarried as refused_row:
        assert str(refused_row)
