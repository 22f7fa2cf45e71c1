"""The management API, `/v1`: coupons and codes as coupon clients know them, and the rest of a program."""
