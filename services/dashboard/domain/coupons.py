"""What a coupon is worth in one phrase, and which state it is in."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.dashboard.domain import numbers, times
from shared.currencies import PLACES


def state_of(coupon: Mapping[str, Any], now: datetime) -> str:
    """Return the name of the coupon's state, as `words.STATES` has it."""
    starts, ends, limit = (
        coupon["starts_at"],
        coupon["redemption_specific_date_value"],
        coupon["redemption_times_value"],
    )
    if coupon["deleted_at"]:
        return "archived"
    if not coupon["active"]:
        return "inactive"
    if starts and now < times.read(starts):
        return "starts"
    if ends and times.read(ends) <= now:
        return "ended"
    return "used_up" if limit is not None and coupon["times_redeemed"] >= limit else "live"


def terms(coupon: Mapping[str, Any]) -> str:
    """Return the terms in one phrase, such as `25 % off for 45 days`."""
    amount, currency = Decimal(str(coupon["coupon_discount_amount"])), coupon["coupon_discount_currency"]
    if coupon["coupon_discount_type"] == "percent":
        off = f"{_plain(amount)} % off"
    elif currency:
        off = f"{numbers.money(int(amount.scaleb(PLACES.get(currency, 2))), currency)} off"
    else:
        off = f"{_plain(amount)} off"
    kind, value = coupon["coupon_duration_type"], coupon["coupon_duration_value"]
    if kind in {"hours", "days", "months", "years"} and value:
        return f"{off} for {numbers.plural(value, kind[:-1])}"
    return f"{off} for ever" if kind == "lifetime" else f"{off} once"


def _plain(amount: Decimal) -> str:
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
