"""Coupons. Statements find ids; one statement reads the rows."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from services.codes.domain.coupons import Coupon, CouponFilter, CouponRef
from services.codes.domain.errors import ExternalIDTaken, UUIDCodeTaken
from services.codes.domain.pages import Page
from services.codes.store.pages import SCANNED_PER_PAGE, page_of_ids
from shared.bounded_counts import MOST_COUNTED, MOST_SCANNED, BoundedCount
from shared.database.bounded_counts import count_of_rows
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import LAST_ID

INSERT_COUPON = Statement("""
INSERT INTO coupons (id, program_id, created_at, updated_at, uuid_code, external_id, name, is_active, discount_type,
                     percent_hundredths, amount_minor, currency, amounts_by_currency, max_discount_minor, duration_type,
                     duration_value, starts_at, expires_at, redemption_limit, code_redemption_limit,
                     customer_redemption_limit, daily_redemption_limit, weekly_redemption_limit,
                     monthly_redemption_limit, budget_minor, budget_currency, is_first_order_only, minimum_minor,
                     minimum_currency, product_ids, release_policy, commission_hundredths, metadata,
                     minimum_applies_to, excluded_product_ids, combination, opening_uses, times_redeemed)
VALUES ($id, $program_id, $created_at, $updated_at, $uuid_code, $external_id, $name, $is_active, $discount_type,
        $percent_hundredths, $amount_minor, $currency, $amounts_by_currency, $max_discount_minor, $duration_type,
        $duration_value, $starts_at, $expires_at, $redemption_limit, $code_redemption_limit, $customer_redemption_limit,
        $daily_redemption_limit, $weekly_redemption_limit, $monthly_redemption_limit, $budget_minor, $budget_currency,
        $is_first_order_only, $minimum_minor, $minimum_currency, $product_ids, $release_policy, $commission_hundredths,
        $metadata, $minimum_applies_to, $excluded_product_ids, $combination, $opening_uses, $opening_uses)
""")
# `uuid_code` stays: it is the public name of the coupon.
UPDATE_COUPON = Statement("""
UPDATE coupons SET
    updated_at = $updated_at, external_id = $external_id, name = $name, is_active = $is_active,
    discount_type = $discount_type, percent_hundredths = $percent_hundredths, amount_minor = $amount_minor,
    currency = $currency, amounts_by_currency = $amounts_by_currency, max_discount_minor = $max_discount_minor,
    duration_type = $duration_type, duration_value = $duration_value, starts_at = $starts_at, expires_at = $expires_at,
    redemption_limit = $redemption_limit, code_redemption_limit = $code_redemption_limit,
    customer_redemption_limit = $customer_redemption_limit, daily_redemption_limit = $daily_redemption_limit,
    weekly_redemption_limit = $weekly_redemption_limit, monthly_redemption_limit = $monthly_redemption_limit,
    budget_minor = $budget_minor, budget_currency = $budget_currency, is_first_order_only = $is_first_order_only,
    minimum_minor = $minimum_minor, minimum_currency = $minimum_currency, product_ids = $product_ids,
    release_policy = $release_policy, commission_hundredths = $commission_hundredths, metadata = $metadata,
    minimum_applies_to = $minimum_applies_to, excluded_product_ids = $excluded_product_ids, combination = $combination
WHERE id = $id
""")
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
# One of the branches runs, that of the narrowest given filter. Why by bounds: see `store.code_lists`.
LIST_COUPONS = Statement("""
WITH scanned AS MATERIALIZED (
    (SELECT id, external_id, name, is_active FROM coupons
     WHERE $way = 'external_id' AND program_id = $program AND external_id = $external_id AND external_id IS NOT NULL
       AND archived_at IS NULL AND id < $before
     LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, external_id, name, is_active FROM coupons
     WHERE $way = 'name' AND (program_id, name, id) < ($program, $name, $before)
       AND (program_id, name) >= ($program, $name)
       AND (program_id, name, id) > ($program, $name, '00000000-0000-0000-0000-000000000000') AND archived_at IS NULL
     ORDER BY program_id DESC, name DESC, id DESC LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, external_id, name, is_active FROM coupons
     WHERE $way = 'program' AND (program_id, id) < ($program, $before) AND program_id >= $program
       AND (program_id, id) > ($program, '00000000-0000-0000-0000-000000000000') AND archived_at IS NULL
     ORDER BY program_id DESC, id DESC LIMIT (SELECT $scanned::bigint))
), chosen AS (
    SELECT id FROM scanned
    WHERE ($external_id::text IS NULL OR external_id = $external_id) AND ($name::text IS NULL OR name = $name)
      AND ($is_active::boolean IS NULL OR is_active = $is_active)
    ORDER BY id DESC OFFSET $offset LIMIT $limit
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING count(*) = $scanned
""")
# Archiving a coupon waits for those who are adding codes to it, and vice versa.
LOCK_COUPON = "SELECT id FROM coupons WHERE program_id = $1 AND id = $2 FOR UPDATE"
SHARE_COUPON = "SELECT id FROM coupons WHERE program_id = $1 AND id = $2 AND archived_at IS NULL FOR KEY SHARE"
# Codes are locked before their coupon, as when uses are recorded. Why by bounds: see `store.code_lists`.
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
    """Write a coupon; raises UUIDCodeTaken or ExternalIDTaken."""
    with _translated():
        await connection.execute(*INSERT_COUPON(**_INSERTED.of(coupon)))


async def update_coupon(connection: Connection, coupon: Coupon) -> None:
    """Write the changeable members of a coupon; the row must be locked. Raises ExternalIDTaken."""
    with _translated():
        await connection.execute(*UPDATE_COUPON(**_UPDATED.of(coupon)))


async def read_coupons(connection: Connection, program_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> list[Coupon]:
    """Read the coupons of these ids, archived ones too, newest first."""
    if not ids:
        return []
    return [_coupon(row) for row in await connection.fetch(READ_COUPONS, program_id, ids)]


async def find_coupon(connection: Connection, program_id: uuid.UUID, ref: CouponRef) -> Coupon | None:
    """Read one coupon: by its id, archived or not, or else by its present `uuid_code`."""
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
    """Read one coupon as `find_coupon` does, and lock it against changes and new codes."""
    coupon = await find_coupon(connection, program_id, ref)
    if coupon is None or await connection.fetchval(LOCK_COUPON, program_id, coupon.id) is None:
        return None
    # Read again: it may have changed during the wait for the lock.
    return (await read_coupons(connection, program_id, [coupon.id]))[0]


async def lock_with_codes(connection: Connection, program_id: uuid.UUID, ref: CouponRef, most: int) -> Coupon | None:
    """Read one coupon as `lock_coupon` does, with its codes locked first, unless they are more than `most`."""
    if (coupon := await find_coupon(connection, program_id, ref)) is not None:
        await connection.fetch(LOCK_CODES, coupon.id, most)
    return await lock_coupon(connection, program_id, ref)


async def share_coupon(connection: Connection, program_id: uuid.UUID, ref: CouponRef) -> Coupon | None:
    """Read one live coupon and lock it against archiving until the transaction ends."""
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
    """Read up to `limit` matching live coupons, newest first, older than `after`, without the first `offset`."""
    part = {"before": after or LAST_ID, "offset": offset, "limit": limit + 1}
    page = page_of_ids(await _listed(connection, program_id, wanted, part, SCANNED_PER_PAGE), limit)
    return Page(await read_coupons(connection, program_id, page.items), page.next_after)


async def count_coupons(connection: Connection, program_id: uuid.UUID, wanted: CouponFilter) -> BoundedCount:
    """Count the matching live coupons."""
    part = {"before": LAST_ID, "offset": 0, "limit": MOST_COUNTED + 1}
    return count_of_rows(await _listed(connection, program_id, wanted, part, MOST_SCANNED))


async def _listed(
    connection: Connection, program_id: uuid.UUID, wanted: CouponFilter, part: Mapping[str, Any], scanned: int
) -> list[Any]:
    enough = part["offset"] + part["limit"]
    return await connection.fetch(
        *LIST_COUPONS(
            **part,
            program=program_id,
            external_id=wanted.external_id,
            name=wanted.name,
            is_active=wanted.is_active,
            scanned=enough if wanted.is_active is None else max(scanned, enough),
            way=_way(wanted),
        )
    )


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
            raise ExternalIDTaken from error
        raise


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


_coupon: Final = Rows(
    Coupon, amounts_by_currency=orjson.loads, metadata=orjson.loads, product_ids=tuple, excluded_product_ids=tuple
)
_INSERTED: Final = Values(INSERT_COUPON.names, Coupon, amounts_by_currency=_json, metadata=_json)
_UPDATED: Final = Values(UPDATE_COUPON.names, Coupon, amounts_by_currency=_json, metadata=_json)
