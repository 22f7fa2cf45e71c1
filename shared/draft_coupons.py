"""The terms of a coupon that does not exist yet, under the names that `codes.redeemable_v1` publishes. Pure.

A dry run of the coupon API returns them, and a validation of a draft takes them, so both services mean the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftCoupon:
    """The columns of the view that describe a coupon: money in minor units, percentages in hundredths of a percent."""

    discount_type: Literal["percent", "static"]
    percent_hundredths: int | None = None
    amount_minor: int | None = None
    currency: str | None = None
    amounts_by_currency: Mapping[str, int] = field(default_factory=dict)
    max_discount_minor: int | None = None
    duration_type: Literal["once", "hours", "days", "months", "years", "lifetime"] = "once"
    duration_value: int | None = None
    coupon_is_active: bool = True
    coupon_starts_at: datetime | None = None
    coupon_expires_at: datetime | None = None
    coupon_redemption_limit: int | None = None
    code_redemption_limit: int | None = None
    customer_redemption_limit: int | None = None
    daily_redemption_limit: int | None = None
    weekly_redemption_limit: int | None = None
    monthly_redemption_limit: int | None = None
    budget_minor: int | None = None
    budget_currency: str | None = None
    coupon_is_first_order_only: bool = False
    coupon_minimum_minor: int | None = None
    coupon_minimum_currency: str | None = None
    minimum_applies_to: Literal["eligible", "order"] = "eligible"
    product_ids: Sequence[str] = ()
    excluded_product_ids: Sequence[str] = ()
    combination: Literal["any", "other_coupons", "none"] = "other_coupons"
    release_policy: Literal["always", "until_expiry", "never"] = "always"
    coupon_commission_hundredths: int | None = None
    coupon_opening_uses: int = 0
