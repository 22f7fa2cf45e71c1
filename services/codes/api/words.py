"""What the API families call the members of programs, coupons and codes: for refusals, and for the audit log."""

from collections.abc import Mapping
from typing import Final

_TERMS: Final = {
    "minimum_minor": "minimum_order_value",
    "minimum_currency": "minimum_order_currency",
    "is_first_order_only": "first_time_order",
    "commission_hundredths": "commission_percent",
    "is_active": "active",
    "archived_at": "deleted_at",
}
COUPON_MEMBERS: Final[Mapping[str, str]] = {
    **_TERMS,
    "discount_type": "coupon_discount_type",
    "percent_hundredths": "coupon_discount_amount",
    "amount_minor": "coupon_discount_amount",
    "currency": "coupon_discount_currency",
    "amounts_by_currency": "coupon_discount_amounts",
    "max_discount_minor": "coupon_discount_max_amount",
    "duration_type": "coupon_duration_type",
    "duration_value": "coupon_duration_value",
    "expires_at": "redemption_specific_date_value",
    "redemption_limit": "redemption_times_value",
    "code_redemption_limit": "redemptions_per_code",
    "customer_redemption_limit": "redemptions_per_customer",
    "daily_redemption_limit": "redemptions_per_day",
    "weekly_redemption_limit": "redemptions_per_week",
    "monthly_redemption_limit": "redemptions_per_month",
    "budget_minor": "budget_amount",
}
CODE_MEMBERS: Final[Mapping[str, str]] = {
    **_TERMS,
    "canonical": "code",
    "expires_at": "expiration_date_value",
    "redemption_limit": "redemption_times_value",
    "is_limited_to_customer": "limit_to_specific_customer",
    "customer_id": "coupon_specific_customers.id",
    "customer_name": "coupon_specific_customers.customer_full_name",
    "is_limited_to_partner": "partner_only",
}
PROGRAM_MEMBERS: Final[Mapping[str, str]] = {"commission_cap_hundredths": "commission_cap_percent"}
QUERY_COUPON_MEMBERS: Final[Mapping[str, str]] = {
    "discount_type": "couponType",
    "percent_hundredths": "percentOff",
    "amount_minor": "amountOff",
    "amounts_by_currency": "amountOff",
    "max_discount_minor": "couponType",
    "duration_type": "duration",
    "duration_value": "durationInMonths",
    "expires_at": "redeemBy",
    "redemption_limit": "maxRedemptions",
    "product_ids": "productIds",
}
QUERY_CODE_MEMBERS: Final[Mapping[str, str]] = {
    "canonical": "code",
    "expires_at": "expiresAt",
    "redemption_limit": "maxRedemptions",
    "is_first_order_only": "firstTimeOrder",
    "minimum_minor": "minimumAmount",
    "minimum_currency": "minimumAmountCurrency",
    "is_limited_to_customer": "limitToCustomers",
    "customer_id": "customerId",
    "is_limited_to_partner": "limitToAffiliate",
}
