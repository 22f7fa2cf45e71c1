"""Files of codes as tests upload them, and what the service returns of them."""

import json
from collections.abc import Iterable
from typing import Any

from tests.databases import Database
from tests.services.codes.bulk import rows
from tests.services.codes.conftest import Owner, Reply, Service

NDJSON, CSV = "application/x-ndjson", "text/csv"


async def upload(
    service: Service,
    program: Owner,
    body: bytes,
    content_type: str = CSV,
    query: str = "",
    *,
    coupon: str = "spring",
    idempotency: str | None = None,
    pieces: Iterable[bytes] | None = None,
) -> Reply:
    headers = {"Authorization": f"Bearer {program.key}", "Content-Type": content_type}
    if idempotency is not None:
        headers["Idempotency-Key"] = idempotency

    async def stream() -> Any:
        for piece in pieces or ():
            yield piece

    async with service.http.post(
        f"/v1/coupons/{coupon}/promotion-codes/import{query}",
        data=body if pieces is None else stream(),
        headers=headers,
    ) as response:
        raw = await response.read()
        return Reply(response.status, response.headers.copy(), raw, json.loads(raw))


async def download(service: Service, program: Owner, path: str) -> str:
    async with service.http.get(path, headers={"Authorization": f"Bearer {program.key}"}) as response:
        assert response.status == 200, await response.text()
        return await response.text()


async def refused(service: Service, program: Owner, job_id: str) -> dict[int, tuple[str | None, str]]:
    text = await download(service, program, f"/v1/jobs/{job_id}/errors?format=ndjson")
    found = [json.loads(line) for line in text.splitlines()]
    assert found.pop()["export"]["count"] == len(found)
    assert all(each["detail"] for each in found)
    return {each["line"]: (each["code"], each["reason"]) for each in found}


async def all_codes(database: Database) -> list[Any]:
    return await rows(database, "SELECT * FROM codes.promotion_codes ORDER BY canonical")
