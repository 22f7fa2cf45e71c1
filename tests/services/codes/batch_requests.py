"""What the tests of batches ask for."""

from typing import Any

from tests.services.codes.conftest import Owner, Reply, Service


async def create(service: Service, program: Owner, body: Any, coupon: str = "spring", **more: Any) -> Reply:
    return await service.send("POST", f"/v1/coupons/{coupon}/promotion-codes/batch", program.key, body, **more)


async def queued(service: Service, program: Owner, count: int = 25_000, **members: Any) -> str:
    made = await create(service, program, {"count": count, **members})
    assert made.status == 202, made.body
    job_id = made.data["job"]["id"]
    assert made.headers["Location"] == f"/v1/jobs/{job_id}"
    assert made.data["codes"] is None
    assert made.data["job"]["state"] == "queued"
    return str(job_id)
