"""What the tests of batches, imports, exports and bulk actions share: a coupon, rows, jobs worked through."""

import uuid
from typing import Any

import asyncpg

from tests.databases import Database
from tests.services.codes.conftest import Owner, Reply, Service


async def make_coupon(database: Database, program_id: str, uuid_code: str = "spring") -> str:
    """Make a coupon of a program and return its id."""
    coupon_id = uuid.uuid4()
    connection = await asyncpg.connect(database.admin)
    try:
        await connection.execute(
            """INSERT INTO codes.coupons (id, program_id, uuid_code, name, discount_type, percent_hundredths,
                   duration_type, created_at, updated_at)
               VALUES ($1, $2, $3, 'Spring', 'percent', 2500, 'once', now(), now())""",
            coupon_id,
            uuid.UUID(program_id),
            uuid_code,
        )
    finally:
        await connection.close()
    return str(coupon_id)


async def rows(database: Database, query: str, *arguments: Any) -> list[asyncpg.Record]:
    """Run a query as the superuser."""
    connection = await asyncpg.connect(database.admin)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


async def work_through(service: Service) -> None:
    """Work on jobs until there is none left."""
    while await service.runner.work_once():
        pass


async def job(service: Service, program: Owner, job_id: str) -> Any:
    """Return a job as the API shows it."""
    shown: Reply = await service.send("GET", f"/v1/jobs/{job_id}", program.key)
    assert shown.status == 200, shown.body
    return shown.data
