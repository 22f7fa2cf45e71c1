"""The names of `/v1` for the members of programs, coupons and codes, for requests, refusals and the audit log.

A member that is not listed has our name.
"""

from collections.abc import Mapping
from typing import Final

_TERMS: Final = {
    "minimum": "minimum_order_value",
    "minimum_minor": "minimum_order_value",
    "minimum_currency": "minimum_order_currency",
    "is_first_order_only": "first_time_order",
    "commission_hundredths": "commission_percent",
    "is_active": "active",
    "archived_at": "deleted_at",
    "has_redemption_limit": "redemption_times_status",
    "redemption_limit": "redemption_times_value",
}
COUPON_MEMBERS: Final[Mapping[str, str]] = {
    **_TERMS,
    "discount_type": "coupon_discount_type",
    "discount": "coupon_discount_amount",
    "percent_hundredths": "coupon_discount_amount",
    "amount_minor": "coupon_discount_amount",
    "currency": "coupon_discount_currency",
    "amounts_by_currency": "coupon_discount_amounts",
    "max_discount": "coupon_discount_max_amount",
    "max_discount_minor": "coupon_discount_max_amount",
    "duration_type": "coupon_duration_type",
    "duration_value": "coupon_duration_value",
    "has_expiry": "redemption_specific_date_status",
    "expires_at": "redemption_specific_date_value",
    "code_redemption_limit": "redemptions_per_code",
    "customer_redemption_limit": "redemptions_per_customer",
    "daily_redemption_limit": "redemptions_per_day",
    "weekly_redemption_limit": "redemptions_per_week",
    "monthly_redemption_limit": "redemptions_per_month",
    "budget": "budget_amount",
    "budget_minor": "budget_amount",
}
CODE_MEMBERS: Final[Mapping[str, str]] = {
    **_TERMS,
    "canonical": "code",
    "has_expiry": "expiration_date_status",
    "expires_at": "expiration_date_value",
    "has_minimum": "minimum_order_status",
    "has_partner": "limit_to_specific_partner",
    "partner": "coupon_specific_partners",
    "is_limited_to_customer": "limit_to_specific_customer",
    "customer": "coupon_specific_customers",
    "customer_id": "coupon_specific_customers.id",
    "customer_name": "coupon_specific_customers.customer_full_name",
    "is_limited_to_partner": "partner_only",
}
# In a request, a partner is named inside another member.
CODE_WORDS: Final[Mapping[str, str]] = {**CODE_MEMBERS, "partner_id": "coupon_specific_partners.id"}
# Common to all codes of a batch.
BATCH_WORDS: Final[Mapping[str, str]] = {
    **_TERMS,
    "redemption_limit": "redemption_limit",
    "is_limited_to_partner": "partner_only",
}
PROGRAM_MEMBERS: Final[Mapping[str, str]] = {"commission_cap_hundredths": "commission_cap_percent"}
