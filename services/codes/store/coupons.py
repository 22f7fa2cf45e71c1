"""Coupons. Statements find ids; one statement reads what they name."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from services.codes.domain.coupons import Coupon, CouponFilter, CouponRef
from services.codes.domain.errors import ExternalIdTaken, UUIDCodeTaken
from services.codes.domain.pages import Page
from services.codes.store.pages import LAST_ID, SCANNED_PER_PAGE, page_of_ids
from shared.database.pool import Connection

INSERT_COUPON = """
INSERT INTO coupons (id, program_id, created_at, updated_at, uuid_code, external_id, name, is_active, discount_type,
                     percent_hundredths, amount_minor, currency, amounts_by_currency, max_discount_minor, duration_type,
                     duration_value, starts_at, expires_at, redemption_limit, code_redemption_limit,
                     customer_redemption_limit, daily_redemption_limit, weekly_redemption_limit,
                     monthly_redemption_limit, budget_minor, budget_currency, is_first_order_only, minimum_minor,
                     minimum_currency, product_ids, release_policy, commission_hundredths, metadata,
                     minimum_applies_to, excluded_product_ids, combination, opening_uses, times_redeemed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
        $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $37)
"""
# `uuid_code` stays: it is the name under which others know the coupon.
UPDATE_COUPON = """
UPDATE coupons SET
    updated_at = $2, external_id = $3, name = $4, is_active = $5, discount_type = $6, percent_hundredths = $7,
    amount_minor = $8, currency = $9, amounts_by_currency = $10, max_discount_minor = $11, duration_type = $12,
    duration_value = $13, starts_at = $14, expires_at = $15, redemption_limit = $16, code_redemption_limit = $17,
    customer_redemption_limit = $18, daily_redemption_limit = $19, weekly_redemption_limit = $20,
    monthly_redemption_limit = $21, budget_minor = $22, budget_currency = $23, is_first_order_only = $24,
    minimum_minor = $25, minimum_currency = $26, product_ids = $27, release_policy = $28, commission_hundredths = $29,
    metadata = $30, minimum_applies_to = $31, excluded_product_ids = $32, combination = $33
WHERE id = $1
"""
READ_COUPONS = """
SELECT id, program_id, created_at, updated_at, archived_at, uuid_code, external_id, name, is_partner_coupon, is_active,
       discount_type, percent_hundredths, amount_minor, currency, amounts_by_currency, max_discount_minor,
       duration_type, duration_value, starts_at, expires_at, redemption_limit, code_redemption_limit,
       customer_redemption_limit, daily_redemption_limit, weekly_redemption_limit, monthly_redemption_limit,
       budget_minor, budget_currency, is_first_order_only, minimum_minor, minimum_currency, product_ids,
       release_policy, commission_hundredths, metadata, minimum_applies_to, excluded_product_ids, combination,
       times_redeemed, opening_uses
FROM coupons WHERE program_id = $1 AND id = ANY ($2::uuid[]) ORDER BY id DESC
"""
FIND_BY_UUID_CODE = "SELECT id FROM coupons WHERE program_id = $1 AND uuid_code = $2 AND archived_at IS NULL"
FIND_BY_EXTERNAL_ID = """
SELECT id FROM coupons WHERE program_id = $1 AND external_id = $2 AND archived_at IS NULL
"""
# One of the ways is taken, by the narrowest of what is asked for. Why by bounds: see `store.promotion_codes`.
LIST_COUPONS = """
WITH scanned AS MATERIALIZED (
    (SELECT id, external_id, name, is_active FROM coupons
     WHERE $9 = 'external_id' AND program_id = $1 AND external_id = $3 AND external_id IS NOT NULL
       AND archived_at IS NULL AND id < $2
     LIMIT $8)
    UNION ALL
    (SELECT id, external_id, name, is_active FROM coupons
     WHERE $9 = 'name' AND (program_id, name, id) < ($1, $4, $2) AND (program_id, name) >= ($1, $4)
       AND (program_id, name, id) > ($1, $4, '00000000-0000-0000-0000-000000000000') AND archived_at IS NULL
     ORDER BY program_id DESC, name DESC, id DESC LIMIT $8)
    UNION ALL
    (SELECT id, external_id, name, is_active FROM coupons
     WHERE $9 = 'program' AND (program_id, id) < ($1, $2) AND program_id >= $1
       AND (program_id, id) > ($1, '00000000-0000-0000-0000-000000000000') AND archived_at IS NULL
     ORDER BY program_id DESC, id DESC LIMIT $8)
), chosen AS (
    SELECT id FROM scanned
    WHERE ($3::text IS NULL OR external_id = $3) AND ($4::text IS NULL OR name = $4)
      AND ($5::boolean IS NULL OR is_active = $5)
    ORDER BY id DESC OFFSET $6 LIMIT $7
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING count(*) = $8
"""
# Who archives a coupon waits for those who are adding codes to it, and the other way round.
LOCK_COUPON = "SELECT id FROM coupons WHERE program_id = $1 AND id = $2 FOR UPDATE"
SHARE_COUPON = "SELECT id FROM coupons WHERE program_id = $1 AND id = $2 AND archived_at IS NULL FOR KEY SHARE"
# Codes are locked before their coupon, as those do who record uses. Why by bounds: see `store.promotion_codes`.
LOCK_CODES = """
SELECT id FROM promotion_codes WHERE coupon_id >= $1 AND coupon_id <= $1 AND archived_at IS NULL
ORDER BY coupon_id, id LIMIT $2 FOR NO KEY UPDATE
"""
ARCHIVE_COUPON = "UPDATE coupons SET archived_at = $2, updated_at = $2 WHERE id = $1"
ARCHIVE_CODES = """
UPDATE promotion_codes SET archived_at = $2, updated_at = $2
WHERE id = ANY (ARRAY(
    SELECT id FROM promotion_codes WHERE coupon_id >= $1 AND coupon_id <= $1 AND archived_at IS NULL
    ORDER BY coupon_id, id LIMIT $3))
"""
HAS_MORE_CODES = """
SELECT true FROM promotion_codes WHERE coupon_id >= $1 AND coupon_id <= $1 AND archived_at IS NULL
ORDER BY coupon_id, id OFFSET $2 LIMIT 1
"""


async def insert_coupon(connection: Connection, coupon: Coupon) -> None:
    """Write a coupon; raises UUIDCodeTaken or ExternalIdTaken."""
    with _translated():
        await connection.execute(
            INSERT_COUPON,
            coupon.id,
            coupon.program_id,
            coupon.created_at,
            coupon.updated_at,
            coupon.uuid_code,
            *_changeable(coupon),
            coupon.opening_uses,
        )


async def update_coupon(connection: Connection, coupon: Coupon) -> None:
    """Write what may change of a coupon; the row must be locked. Raises ExternalIdTaken."""
    with _translated():
        await connection.execute(UPDATE_COUPON, coupon.id, coupon.updated_at, *_changeable(coupon))


async def read_coupons(connection: Connection, program_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> list[Coupon]:
    """Read the coupons of these ids, archived ones too, newest first."""
    if not ids:
        return []
    return [_coupon(row) for row in await connection.fetch(READ_COUPONS, program_id, ids)]


async def find_coupon(connection: Connection, program_id: uuid.UUID, ref: CouponRef) -> Coupon | None:
    """Read one coupon: by its id, archived or not, or else by the `uuid_code` that it bears now."""
    if (coupon_id := ref.as_id) is not None and (found := await read_coupons(connection, program_id, [coupon_id])):
        return found[0]
    by_code = await connection.fetchval(FIND_BY_UUID_CODE, program_id, ref.text)
    found = await read_coupons(connection, program_id, [by_code] if by_code else [])
    return found[0] if found else None


async def find_by_external_id(connection: Connection, program_id: uuid.UUID, external_id: str) -> Coupon | None:
    """Read the live coupon that has an external id."""
    coupon_id = await connection.fetchval(FIND_BY_EXTERNAL_ID, program_id, external_id)
    found = await read_coupons(connection, program_id, [coupon_id] if coupon_id else [])
    return found[0] if found else None


async def lock_coupon(connection: Connection, program_id: uuid.UUID, ref: CouponRef) -> Coupon | None:
    """Read one coupon as `find_coupon` does, and keep others from changing it and from adding codes to it."""
    coupon = await find_coupon(connection, program_id, ref)
    if coupon is None or await connection.fetchval(LOCK_COUPON, program_id, coupon.id) is None:
        return None
    # Read again: it may have changed while the lock was waited for.
    return (await read_coupons(connection, program_id, [coupon.id]))[0]


async def lock_with_codes(connection: Connection, program_id: uuid.UUID, ref: CouponRef, most: int) -> Coupon | None:
    """Read one coupon as `lock_coupon` does, with its codes locked first, as far as they are not more than `most`."""
    if (coupon := await find_coupon(connection, program_id, ref)) is not None:
        await connection.fetch(LOCK_CODES, coupon.id, most)
    return await lock_coupon(connection, program_id, ref)


async def share_coupon(connection: Connection, program_id: uuid.UUID, ref: CouponRef) -> Coupon | None:
    """Read one live coupon and keep others from archiving it until the transaction ends."""
    coupon = await find_coupon(connection, program_id, ref)
    if coupon is None or await connection.fetchval(SHARE_COUPON, program_id, coupon.id) is None:
        return None
    return (await read_coupons(connection, program_id, [coupon.id]))[0]


async def list_coupons(
    connection: Connection,
    program_id: uuid.UUID,
    wanted: CouponFilter,
    after: uuid.UUID | None,
    offset: int,
    limit: int,
) -> Page[Coupon]:
    """Read up to `limit` live coupons that fit, newest first, older than `after`, without the first `offset`."""
    enough = offset + limit + 1
    rows = await connection.fetch(
        LIST_COUPONS,
        program_id,
        after or LAST_ID,
        wanted.external_id,
        wanted.name,
        wanted.is_active,
        offset,
        limit + 1,
        enough if wanted.is_active is None else max(SCANNED_PER_PAGE, enough),
        _way(wanted),
    )
    page = page_of_ids(rows, limit)
    return Page(await read_coupons(connection, program_id, page.items), page.next_after)


async def archive_coupon(connection: Connection, coupon: Coupon, now: datetime, most: int) -> bool:
    """Archive a locked coupon and its codes; False, and nothing done, if these are more than `most`."""
    if await connection.fetchval(HAS_MORE_CODES, coupon.id, most):
        return False
    await connection.execute(ARCHIVE_CODES, coupon.id, now, most)
    await connection.execute(ARCHIVE_COUPON, coupon.id, now)
    return True


def _way(wanted: CouponFilter) -> str:
    if wanted.external_id is not None:
        return "external_id"
    return "name" if wanted.name is not None else "program"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "coupons_uuid_code_live":
            raise UUIDCodeTaken from error
        if error.constraint_name == "coupons_external_id_live":
            raise ExternalIdTaken from error
        raise


def _changeable(coupon: Coupon) -> tuple[object, ...]:
    return (
        coupon.external_id,
        coupon.name,
        coupon.is_active,
        coupon.discount_type,
        coupon.percent_hundredths,
        coupon.amount_minor,
        coupon.currency,
        orjson.dumps(coupon.amounts_by_currency).decode(),
        coupon.max_discount_minor,
        coupon.duration_type,
        coupon.duration_value,
        coupon.starts_at,
        coupon.expires_at,
        coupon.redemption_limit,
        coupon.code_redemption_limit,
        coupon.customer_redemption_limit,
        coupon.daily_redemption_limit,
        coupon.weekly_redemption_limit,
        coupon.monthly_redemption_limit,
        coupon.budget_minor,
        coupon.budget_currency,
        coupon.is_first_order_only,
        coupon.minimum_minor,
        coupon.minimum_currency,
        list(coupon.product_ids),
        coupon.release_policy,
        coupon.commission_hundredths,
        orjson.dumps(coupon.metadata).decode(),
        coupon.minimum_applies_to,
        list(coupon.excluded_product_ids),
        coupon.combination,
    )


def _coupon(row: Any) -> Coupon:
    members = dict(row)
    members["amounts_by_currency"] = orjson.loads(members["amounts_by_currency"])
    members["metadata"] = orjson.loads(members["metadata"])
    for name in ("product_ids", "excluded_product_ids"):
        members[name] = tuple(members[name])
    return Coupon(**members)
