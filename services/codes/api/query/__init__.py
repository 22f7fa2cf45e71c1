"""The query API, `/api/v1`: coupons and codes in camel case, as arrays."""
