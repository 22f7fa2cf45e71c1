"""What the tests of coupons ask for."""

from collections.abc import Mapping
from typing import Any

from tests.services.codes.conftest import Owner, Service

DOCUMENTED: Mapping[str, Any] = {
    "name": "PARTNERO25",
    "uuid_code": "coupon_123",
    "coupon_discount_type": "percent",
    "coupon_discount_amount": 25,
    "coupon_duration_type": "months",
    "coupon_duration_value": 11,
    "redemption_times_status": True,
    "redemption_times_value": 24,
}
SHORTEST: Mapping[str, Any] = {
    "coupon_discount_type": "percent",
    "coupon_discount_amount": 10,
    "coupon_duration_type": "once",
}
STATIC: Mapping[str, Any] = {**SHORTEST, "coupon_discount_type": "static"}


async def create(service: Service, program: Owner, **members: Any) -> Any:
    made = await service.send("POST", "/v1/coupons", program.key, {**SHORTEST, **members})
    assert made.status == 201, made.body
    return made.data


async def names(service: Service, program: Owner) -> list[str]:
    listed = await service.send("GET", "/v1/coupons", program.key)
    return [coupon["uuid_code"] for coupon in listed.data]
