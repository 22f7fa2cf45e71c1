"""Shopify's file of discounts (Discounts, Export): one row per code, amounts in the store's currency."""

from __future__ import annotations

import re

from mintwire.shops.plan import ShopCode
from mintwire.shops.rows import NotCarried, Row

REQUIRED = ("name", "value", "valuetype")
_AMOUNT = re.compile(r"[0-9]+(?:[.,][0-9]{1,2})?")
# Only discounts on orders are imported; none of ours applies to shipping.
_COMBINES, _COMBINES_WITH_PRODUCTS = "combineswithorderdiscounts", "combineswithproductdiscounts"
_PRODUCTS_REMARK = "it combines with product discounts there, but with no other code here"
_ONCE_REMARK = "once per customer: the file does not say who has used it, so each customer may use it once more"


def read_row(row: Row) -> ShopCode:
    """Return the code of a row; raises NotCarried."""
    remarks = []
    terms: dict[str, object] = {"coupon_duration_type": "once", **_discount(row), **_minimum(row)}
    if row.text("customerselection").lower() not in ("", "all", "all customers", "everyone"):
        raise NotCarried("it is limited to certain customers, whom the file does not name")
    limit = row.count("usagelimitpercode")
    # A code that can be used only once is also limited to once per customer.
    if row.flag("appliesoncepercustomer") and limit != 1:
        terms["redemptions_per_customer"] = 1
        remarks.append(_ONCE_REMARK)
    if _COMBINES in row.cells:
        terms["combination"] = "other_coupons" if row.flag(_COMBINES) else "none"
        if row.flag(_COMBINES_WITH_PRODUCTS) and not row.flag(_COMBINES):
            remarks.append(_PRODUCTS_REMARK)
    status = row.text("status").lower()
    members = {
        "active": "true" if status in ("", "active", "scheduled") or row.text("end") else "false",
        "starts_at": row.text("start", "startdate"),
        "expires_at": row.text("end", "enddate"),
        "redemption_limit": str(limit or ""),
    }
    return ShopCode(
        row.text("name"), terms, members, row.count("timesusedintotal", "timesused") or 0, remarks=tuple(remarks)
    )


def _discount(row: Row) -> dict[str, object]:
    kind, value_type, described = row.text("discountclass").lower(), row.text("valuetype").lower(), row.text("type")
    if kind == "shipping" or "shipping" in described.lower():
        raise NotCarried("free shipping takes nothing off the items")
    if "buy" in described.lower() or "app" in described.lower().split() or value_type == "app":
        raise NotCarried(f"{described or 'a discount of an app'} has terms that are not in the file")
    if kind in ("product", "multiple"):
        raise NotCarried("it is limited to certain products, which the file does not name; create it with product_ids")
    value = (row.percentage if value_type == "percentage" else row.number)("value")
    if not value:
        raise NotCarried("it takes nothing off")
    if value_type == "percentage":
        return {"coupon_discount_type": "percent", "coupon_discount_amount": float(abs(value))}
    if value_type == "fixed_amount":
        return {"coupon_discount_type": "static", "coupon_discount_amount": float(abs(value))}
    raise NotCarried(f"the value type {value_type[:30]!r} is not known")


def _minimum(row: Row) -> dict[str, object]:
    text = row.text("minimumpurchaserequirements")
    if text.lower() in ("", "none", "no minimum requirements", "0", "0.0", "0.00"):
        return {}
    amounts = _AMOUNT.findall(text.replace(",", "") if "." in text else text)
    if len(amounts) != 1 or "item" in text.lower() or "quantity" in text.lower():
        raise NotCarried(f"its minimum, {text[:60]!r}, is not an amount")
    return {"minimum_order_value": float(amounts[0].replace(",", "."))}
