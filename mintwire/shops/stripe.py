"""Stripe's promotion codes with their coupons, or its coupons alone, whose ids are then the codes that customers type.

Columns are named like the fields of the API or as the dashboard shows them; times without an offset are UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

from mintwire.shops.plan import ShopCode
from mintwire.shops.rows import NotCarried, Row
from shared.currencies import PLACES, checked_currency

REQUIRED = ("timesredeemed",)
_SECONDS = re.compile(r"[0-9]{9,10}")
_NAIVE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?")


def read_row(row: Row) -> ShopCode:
    """Return the code of a row; raises NotCarried."""
    if row.text("livemode").lower() in ("false", "0", "no"):
        raise NotCarried("it is from Stripe's test mode")
    # A row with a code is a promotion code, and members with the same name are the code's, not the coupon's.
    is_promotion_code = bool(row.text("code", "promotioncode"))
    coupon = "coupon" if is_promotion_code else ""
    terms: dict[str, object] = {**_discount(row), **_duration(row), "combination": "other_coupons"}
    if products := row.list("appliestoproducts", "couponappliestoproducts"):
        terms["product_ids"] = products
    code = row.text("code", "promotioncode") if is_promotion_code else row.text("id", "couponid")
    members = {
        "active": "true" if not row.text("active") or row.flag("active") else "false",
        "expires_at": _time(row.text("expiresat", "expires") if is_promotion_code else row.text("redeemby")),
        "redemption_limit": str(row.count("maxredemptions") or ""),
        "customer_id": row.text("customer", "customerid"),
        "first_time_order": str(row.flag("firsttimetransaction", "restrictionsfirsttimetransaction")).lower(),
        **_minimum(row),
    }
    uses = row.count("timesredeemed") or 0
    if not is_promotion_code:
        return ShopCode(code, terms, members, uses)
    terms["metadata"] = {"stripe_coupon": row.text("couponid", "coupon")}
    if limit := row.count("couponmaxredemptions"):
        terms |= {"redemption_times_status": True, "redemption_times_value": limit}
    if ends := row.text(f"{coupon}redeemby"):
        terms |= {"redemption_specific_date_status": True, "redemption_specific_date_value": _instant(ends)}
    return ShopCode(code, terms, members, uses, row.count("coupontimesredeemed") or 0 if limit else None)


def _discount(row: Row) -> dict[str, object]:
    columns = ("amountoff", "couponamountoff")
    if percent := row.percentage("percentoff", "couponpercentoff"):
        if row.number(*columns):
            raise NotCarried("it has both a percentage and an amount")
        return {"coupon_discount_type": "percent", "coupon_discount_amount": float(percent)}
    if not row.number(*columns):
        raise NotCarried("it takes nothing off")
    currency = _currency(row.text("currency", "couponcurrency"))
    return {
        "coupon_discount_type": "static",
        "coupon_discount_amount": float(_major(row, currency, *columns)),
        "coupon_discount_currency": currency,
    }


def _duration(row: Row) -> dict[str, object]:
    kind = row.text("duration", "couponduration").lower()
    if kind == "once":
        return {"coupon_duration_type": "once"}
    if kind == "forever":
        return {"coupon_duration_type": "lifetime"}
    months = row.count("durationinmonths", "coupondurationinmonths")
    if kind == "repeating" and months:
        return {"coupon_duration_type": "months", "coupon_duration_value": months}
    if kind == "repeating":
        raise NotCarried("it applies for several months, but the file does not say how many")
    raise NotCarried(f"the duration {kind[:30]!r} is not known")


def _minimum(row: Row) -> dict[str, str]:
    columns = ("minimumamount", "restrictionsminimumamount")
    if not row.number(*columns):
        return {}
    currency = _currency(row.text("minimumamountcurrency", "restrictionsminimumamountcurrency"))
    return {"minimum_order_value": str(_major(row, currency, *columns)), "minimum_order_currency": currency}


def _major(row: Row, currency: str, *columns: str) -> Decimal:
    """Return an amount in whole units; under the API's own names (`amount_off`) it is in the smallest units."""
    amount = row.number(*columns) or Decimal(0)
    is_of_api = any("_" in row.names.get(column, "") for column in columns)
    return amount.scaleb(-PLACES[currency]) if is_of_api else amount


def _currency(text: str) -> str:
    try:
        return checked_currency(text)
    except ValueError as error:
        raise NotCarried(f"the currency {error}") from None


def _time(text: str) -> str:
    return f"{text} UTC" if _NAIVE.fullmatch(text) else text


def _instant(text: str) -> str:
    if _SECONDS.fullmatch(text):
        return datetime.fromtimestamp(int(text), UTC).isoformat()
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat() if _NAIVE.fullmatch(text) else text
    except ValueError:
        raise NotCarried(f"the coupon's end, {text[:30]!r}, is not a time") from None
