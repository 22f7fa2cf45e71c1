"""What a decision writes, in the transaction that holds its locks."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from services.redemption.domain.decision import Reason
from shared.database.pool import Connection

# The rows are there and locked; an upsert finds each by its key, whatever the planner believes about the tables.
INSERT_REDEMPTIONS = """
WITH counted_code AS (
    INSERT INTO code_counters AS n (code_id, uses, version, use_limit)
    SELECT * FROM unnest($14::uuid[], $15::int[], $16::bigint[], $17::int[])
    ON CONFLICT (code_id) DO UPDATE
    SET uses = excluded.uses, version = excluded.version, use_limit = excluded.use_limit
), counted_coupon AS (
    INSERT INTO coupon_counters AS n (coupon_id, uses, version, use_limit)
    SELECT * FROM unnest($18::uuid[], $19::int[], $20::bigint[], $21::int[])
    ON CONFLICT (coupon_id) DO UPDATE
    SET uses = excluded.uses, version = excluded.version, use_limit = excluded.use_limit
)
INSERT INTO redemptions (id, program_id, order_ref, canonical, code, code_id, coupon_id, partner_id, customer_id,
                         discount_minor, currency, occurred_at, decided_at)
SELECT r.*, $13
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::uuid[], $9::text[],
            $10::bigint[], $11::text[], $12::timestamptz[]) AS r
"""
INSERT_REJECTIONS = """
INSERT INTO rejections (id, program_id, order_ref, code, code_id, reason, detail, source, event_id, occurred_at,
                        decided_at)
SELECT r.*, $11
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::timestamptz[]) AS r
"""


class RedemptionRow(NamedTuple):
    """One code redeemed by one order; the members stand in the order of the statement."""

    id: uuid.UUID
    program_id: uuid.UUID
    order_ref: str
    canonical: str
    code: str
    code_id: uuid.UUID
    coupon_id: uuid.UUID
    partner_id: uuid.UUID | None
    customer_id: str | None
    discount_minor: int | None
    currency: str | None
    occurred_at: datetime


class CountRow(NamedTuple):
    """A counter as it is to be from now on; the members stand in the order of the statement."""

    id: uuid.UUID
    uses: int
    version: int
    use_limit: int | None


class RejectionRow(NamedTuple):
    """Why an order's codes were refused; the members stand in the order of the statement."""

    id: uuid.UUID
    program_id: uuid.UUID
    order_ref: str
    code: str
    code_id: uuid.UUID | None
    reason: Reason
    detail: str
    source: str
    event_id: str
    occurred_at: datetime


async def insert_redemptions(
    connection: Connection,
    rows: Sequence[RedemptionRow],
    codes: Sequence[CountRow],
    coupons: Sequence[CountRow],
    decided_at: datetime,
) -> None:
    """Write redemptions and the counters that they moved, which must be locked."""
    await connection.execute(
        INSERT_REDEMPTIONS,
        *_columns(rows, len(RedemptionRow._fields)),
        decided_at,
        *_columns(codes, len(CountRow._fields)),
        *_columns(coupons, len(CountRow._fields)),
    )


async def insert_rejections(connection: Connection, rows: Sequence[RejectionRow], decided_at: datetime) -> None:
    """Write down why orders were refused."""
    await connection.execute(INSERT_REJECTIONS, *_columns(rows, len(RejectionRow._fields)), decided_at)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
