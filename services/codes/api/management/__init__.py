"""The management API, `/v1`: coupons and codes as coupon clients know them, and what else a program needs."""
