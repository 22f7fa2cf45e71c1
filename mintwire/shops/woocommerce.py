"""WooCommerce's coupons, as its export plugins and its REST API name the columns; its codes ignore case."""

from __future__ import annotations

import re

from mintwire.shops.plan import ShopCode
from mintwire.shops.rows import NotCarried, Row

REQUIRED = ("discounttype",)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PERCENT = frozenset({"percent", "percent_product", "percentage discount"})
_STATIC = frozenset({"fixed_cart", "fixed cart discount"})
_PER_CUSTOMER_REMARK = "limit per customer: earlier uses are not imported, so each customer starts again at zero"
_SCHEDULED_REMARK = "scheduled there, but the file does not say for when: switched off"
# Restrictions that coupons have there but not here.
_NARROWER = (
    (("maximumamount",), "it is limited to orders up to an amount"),
    (("limitusagetoxitems",), "it is limited to a number of items per order"),
    (("productcategories",), "it is limited to product categories"),
    (("excludeproductcategories", "excludedproductcategories"), "it excludes product categories"),
    (("customeremail", "emailrestrictions", "allowedemails"), "it is limited to certain e-mail addresses"),
)


def read_row(row: Row) -> ShopCode:
    """Return the code of a row; raises NotCarried."""
    status = row.text("poststatus", "status").lower() or "publish"
    if status == "trash":
        raise NotCarried("it is in the trash")
    _check_terms(row)
    remarks = []
    terms: dict[str, object] = {"coupon_duration_type": "once", **_discount(row)}
    if minimum := row.number("minimumamount"):
        terms["minimum_order_value"] = float(minimum)
    if products := row.list("productids"):
        terms["product_ids"] = products
    if excluded := row.list("excludeproductids", "excludedproductids"):
        terms["excluded_product_ids"] = excluded
    limit, per_customer = row.count("usagelimit"), row.count("usagelimitperuser")
    # A limit that all customers together cannot exceed needs no limit per customer.
    if per_customer is not None and (limit is None or limit > per_customer):
        terms["redemptions_per_customer"] = per_customer
        remarks.append(_PER_CUSTOMER_REMARK)
    terms["combination"] = "none" if row.flag("individualuse") else "other_coupons"
    if row.flag("freeshipping"):
        remarks.append("free shipping is not imported; the discount is")
    starts = row.text("postdate", "datecreated") if status == "future" else ""
    if status == "future" and not starts:
        remarks.append(_SCHEDULED_REMARK)
    members = {
        "active": "true" if status in ("publish", "published") or starts else "false",
        "starts_at": starts,
        "expires_at": _expiry(row.text("dateexpires", "expirydate", "couponexpirydate")),
        "redemption_limit": str(limit or ""),
    }
    uses = row.count("usagecount") or 0
    return ShopCode(row.text("code", "couponcode", "posttitle", "name"), terms, members, uses, remarks=tuple(remarks))


def _check_terms(row: Row) -> None:
    for columns, reason in _NARROWER:
        if row.text(*columns) not in ("", "0", "0.00", "a:0:{}", "[]"):
            raise NotCarried(reason)
    if row.flag("excludesaleitems"):
        raise NotCarried("it excludes sale items")


def _discount(row: Row) -> dict[str, object]:
    kind = row.text("discounttype").lower()
    amount = (row.percentage if kind in _PERCENT else row.number)("couponamount", "amount")
    if not amount:
        raise NotCarried("it takes nothing off" + (" but the shipping" if row.flag("freeshipping") else ""))
    if kind in _PERCENT:
        return {"coupon_discount_type": "percent", "coupon_discount_amount": float(amount)}
    if kind in _STATIC:
        return {"coupon_discount_type": "static", "coupon_discount_amount": float(amount)}
    raise NotCarried(f"the discount type {kind[:30]!r} works differently from ours")


def _expiry(text: str) -> str:
    # There a coupon ends at the start of its last day; here a bare date means the end of that day.
    return f"{text} 00:00:00" if _DATE.fullmatch(text) else text
