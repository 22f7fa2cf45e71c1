"""Promotion codes as their program sees them. Statements find ids; one statement reads what they name."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from services.codes.domain.errors import CodeTaken, ExternalIdTaken
from services.codes.domain.pages import Page
from services.codes.domain.promotion_codes import PromotionCode
from services.codes.store.pages import LAST_ID, MOST_COUPONS, SCANNED_PER_PAGE, page_of_ids
from shared.database.pool import Connection

# A string that is taken is no error here: a generated one is made anew.
INSERT_CODE = """
INSERT INTO promotion_codes (id, program_id, coupon_id, created_at, updated_at, is_auto_generated, created_by_key_id,
                             partner_id, code, canonical, external_id, is_active, starts_at, expires_at,
                             redemption_limit, is_first_order_only, minimum_minor, minimum_currency,
                             is_limited_to_customer, customer_id, customer_name, is_limited_to_partner,
                             commission_hundredths, metadata)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
ON CONFLICT (program_id, canonical) WHERE archived_at IS NULL DO NOTHING
RETURNING id
"""
UPDATE_CODE = """
UPDATE promotion_codes SET
    reference = CASE WHEN partner_id IS NOT DISTINCT FROM $3 THEN reference END,
    updated_at = $2, partner_id = $3, code = $4, canonical = $5, external_id = $6, is_active = $7, starts_at = $8,
    expires_at = $9, redemption_limit = $10, is_first_order_only = $11, minimum_minor = $12, minimum_currency = $13,
    is_limited_to_customer = $14, customer_id = $15, customer_name = $16, is_limited_to_partner = $17,
    commission_hundredths = $18, metadata = $19
WHERE id = $1
"""
ARCHIVE_CODE = "UPDATE promotion_codes SET archived_at = $2, updated_at = $2 WHERE id = $1"
LOCK_CODE = "SELECT id FROM promotion_codes WHERE program_id = $1 AND id = $2 FOR NO KEY UPDATE"
READ_CODES = """
SELECT c.id, c.program_id, c.coupon_id, c.partner_id, c.code, c.canonical, c.external_id, c.is_active,
       c.is_auto_generated, c.starts_at, c.expires_at, c.redemption_limit, c.is_first_order_only, c.minimum_minor,
       c.minimum_currency, c.is_limited_to_customer, c.customer_id, c.customer_name, c.is_limited_to_partner,
       c.commission_hundredths, c.reference, c.batch_id, c.created_by_key_id, c.metadata, c.times_redeemed,
       c.last_redeemed_at, c.created_at, c.updated_at, c.archived_at
FROM promotion_codes c WHERE c.program_id = $1 AND c.id = ANY ($2::uuid[]) ORDER BY c.id DESC
"""
FIND_BY_CANONICAL = """
SELECT id FROM promotion_codes WHERE program_id = $1 AND canonical = $2 AND archived_at IS NULL
"""
FIND_BY_EXTERNAL_ID = """
SELECT id FROM promotion_codes WHERE program_id = $1 AND external_id = $2 AND archived_at IS NULL
"""
# Of a program or of one of its coupons, each by its index; the way not taken is not even begun. The last row, a mark,
# says that there may be more.
#
# Bounds instead of an equal sign, and an order that names every column of the index: else the planner would rather walk
# the primary key backwards and look at each code on its way, which ends soon for a coupon with many codes, and never
# for one that has none among ten million. The index alone answers; of what is chosen the rows are read afterwards.
LIST_OF_PROGRAM = """
WITH scanned AS (
    (SELECT id FROM promotion_codes
     WHERE $2::uuid IS NULL AND (program_id, id) < ($1, $3) AND program_id >= $1 AND archived_at IS NULL
     ORDER BY program_id DESC, id DESC LIMIT $7)
    UNION ALL
    (SELECT id FROM promotion_codes
     WHERE $2::uuid IS NOT NULL AND (coupon_id, id) < ($2, $3) AND coupon_id >= $2 AND archived_at IS NULL
     ORDER BY coupon_id DESC, id DESC LIMIT $7)
), chosen AS (
    SELECT s.id FROM scanned s
    WHERE $4::boolean IS NULL OR (SELECT c.is_active FROM promotion_codes c WHERE c.id = s.id) = $4
    ORDER BY s.id DESC OFFSET $5 LIMIT $6
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING count(*) = $7
"""
# Of a partner: for one coupon, or for those that the index leads to from one to the next; of each its newest, then the
# newest of all: what is older than the last that was looked at of a coupon with more is left to the next page. A
# partner with codes of very many coupons is looked for among its program's codes instead, so that what a page costs
# grows neither with the number of its coupons nor with that of its codes.
LIST_OF_PARTNER = """
WITH RECURSIVE coupon AS (
    (SELECT $2::uuid AS coupon_id WHERE $2::uuid IS NOT NULL
     UNION ALL
     (SELECT coupon_id FROM promotion_codes
      WHERE $2::uuid IS NULL AND partner_id >= $1 AND partner_id <= $1 AND archived_at IS NULL
      ORDER BY partner_id, coupon_id LIMIT 1))
    UNION ALL
    SELECT (SELECT c.coupon_id FROM promotion_codes c
            WHERE (c.partner_id, c.coupon_id) > ($1, k.coupon_id) AND c.partner_id <= $1 AND c.archived_at IS NULL
            ORDER BY c.partner_id, c.coupon_id LIMIT 1)
    FROM coupon k WHERE k.coupon_id IS NOT NULL AND $2::uuid IS NULL
), few AS MATERIALIZED (
    SELECT coupon_id FROM coupon WHERE coupon_id IS NOT NULL LIMIT $9 + 1
), share AS MATERIALIZED (
    SELECT greatest($5::bigint + $6, $7::bigint / greatest(1, count(*))) AS size FROM few
), scanned AS MATERIALIZED (
    SELECT c.id, true AS is_own, c.place = (SELECT size FROM share) AS is_last
    FROM few k CROSS JOIN LATERAL (
        SELECT id, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id FROM promotion_codes
            WHERE (partner_id, coupon_id, id) < ($1, k.coupon_id, $3) AND (partner_id, coupon_id) >= ($1, k.coupon_id)
              AND partner_id IS NOT NULL AND archived_at IS NULL
            ORDER BY partner_id DESC, coupon_id DESC, id DESC LIMIT (SELECT size FROM share)) n) c
    WHERE (SELECT count(*) FROM few) <= $9
    UNION ALL
    SELECT id, is_own, place = greatest($5::bigint + $6, $10) FROM (
        SELECT id, is_own, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, partner_id IS NOT DISTINCT FROM $1 AS is_own FROM promotion_codes
            WHERE (SELECT count(*) FROM few) > $9 AND (program_id, id) < ($8, $3) AND program_id >= $8
              AND archived_at IS NULL
            ORDER BY program_id DESC, id DESC LIMIT greatest($5::bigint + $6, $10)) n) c
), mark AS MATERIALIZED (
    SELECT id FROM scanned WHERE is_last ORDER BY id DESC LIMIT 1
), chosen AS (
    SELECT s.id FROM scanned s
    WHERE s.is_own AND NOT EXISTS (SELECT FROM mark m WHERE s.id < m.id)
      AND ($4::boolean IS NULL OR (SELECT c.is_active FROM promotion_codes c WHERE c.id = s.id) = $4)
    ORDER BY s.id DESC OFFSET $5 LIMIT $6
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT id, true FROM mark
"""
LIST_OF_CUSTOMER = """
WITH scanned AS (
    SELECT id, coupon_id, partner_id, is_active FROM promotion_codes
    WHERE (program_id, customer_id, id) < ($1, $2, $3) AND (program_id, customer_id) >= ($1, $2)
      AND customer_id IS NOT NULL AND archived_at IS NULL
    ORDER BY program_id DESC, customer_id DESC, id DESC LIMIT $7
), chosen AS (
    SELECT id FROM scanned
    WHERE ($4::boolean IS NULL OR is_active = $4) AND ($8::uuid IS NULL OR coupon_id = $8)
      AND ($9::uuid IS NULL OR partner_id = $9)
    ORDER BY id DESC OFFSET $5 LIMIT $6
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING count(*) = $7
"""
NEWEST_OF_COUPONS = """
SELECT c.id FROM unnest($1::uuid[]) AS k (id)
CROSS JOIN LATERAL (
    SELECT id FROM promotion_codes WHERE coupon_id >= k.id AND coupon_id <= k.id AND archived_at IS NULL
    ORDER BY coupon_id DESC, id DESC LIMIT $2) c
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which live codes of a program to list, with every name resolved."""

    program_id: uuid.UUID
    coupon_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None
    customer_id: str | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a list: older than `after`, without the first `offset`, at most `limit`."""

    after: uuid.UUID | None
    offset: int
    limit: int


async def insert_code(connection: Connection, code: PromotionCode) -> bool:
    """Write a code; False if its string is taken. Raises ExternalIdTaken."""
    with _translated(code):
        found = await connection.fetchval(
            INSERT_CODE,
            code.id,
            code.program_id,
            code.coupon_id,
            code.created_at,
            code.updated_at,
            code.is_auto_generated,
            code.created_by_key_id,
            *_changeable(code),
        )
    return found is not None


async def update_code(connection: Connection, code: PromotionCode) -> None:
    """Write what may change of a code; the row must be locked. Raises CodeTaken or ExternalIdTaken."""
    with _translated(code):
        await connection.execute(UPDATE_CODE, code.id, code.updated_at, *_changeable(code))


async def archive_code(connection: Connection, code_id: uuid.UUID, now: datetime) -> None:
    """Archive a locked code; its string is free again."""
    await connection.execute(ARCHIVE_CODE, code_id, now)


async def read_codes(connection: Connection, program_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> list[PromotionCode]:
    """Read the codes of these ids, archived ones too, newest first."""
    if not ids:
        return []
    return [_code(row) for row in await connection.fetch(READ_CODES, program_id, ids)]


async def lock_code(connection: Connection, program_id: uuid.UUID, code_id: uuid.UUID) -> PromotionCode | None:
    """Read one code, archived or not, and keep others from changing it until the transaction ends."""
    if await connection.fetchval(LOCK_CODE, program_id, code_id) is None:
        return None
    return (await read_codes(connection, program_id, [code_id]))[0]


async def find_by_canonical(connection: Connection, program_id: uuid.UUID, canonical: str) -> uuid.UUID | None:
    """Find the live code that reads so."""
    found: uuid.UUID | None = await connection.fetchval(FIND_BY_CANONICAL, program_id, canonical)
    return found


async def find_by_external_id(connection: Connection, program_id: uuid.UUID, external_id: str) -> uuid.UUID | None:
    """Find the live code that has an external id."""
    found: uuid.UUID | None = await connection.fetchval(FIND_BY_EXTERNAL_ID, program_id, external_id)
    return found


async def list_ids(
    connection: Connection, wanted: Wanted, part: Part, scanned: int = SCANNED_PER_PAGE
) -> Page[uuid.UUID]:
    """Find the codes of one part of a list, newest first."""
    enough = part.offset + part.limit + 1
    is_exact = wanted.is_active is None and wanted.customer_id is None
    bound = enough if is_exact else max(scanned, enough)
    place = (part.after or LAST_ID, wanted.is_active, part.offset, part.limit + 1, bound)
    if wanted.customer_id is not None:
        rows = await connection.fetch(
            LIST_OF_CUSTOMER, wanted.program_id, wanted.customer_id, *place, wanted.coupon_id, wanted.partner_id
        )
    elif wanted.partner_id is not None:
        rows = await connection.fetch(
            LIST_OF_PARTNER, wanted.partner_id, wanted.coupon_id, *place, wanted.program_id, MOST_COUPONS, scanned
        )
    else:
        rows = await connection.fetch(LIST_OF_PROGRAM, wanted.program_id, wanted.coupon_id, *place)
    return page_of_ids(rows, part.limit)


async def newest_of_coupons(
    connection: Connection, program_id: uuid.UUID, coupon_ids: Sequence[uuid.UUID], most: int
) -> Mapping[uuid.UUID, list[PromotionCode]]:
    """Read the newest live codes of each coupon, at most so many of each."""
    ids = [row["id"] for row in await connection.fetch(NEWEST_OF_COUPONS, coupon_ids, most)]
    found: dict[uuid.UUID, list[PromotionCode]] = {coupon_id: [] for coupon_id in coupon_ids}
    for code in await read_codes(connection, program_id, ids):
        found[code.coupon_id].append(code)
    return found


@contextmanager
def _translated(code: PromotionCode) -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "promotion_codes_live":
            raise CodeTaken(code.code) from error
        if error.constraint_name == "promotion_codes_external_id_live":
            raise ExternalIdTaken from error
        raise


def _changeable(code: PromotionCode) -> tuple[object, ...]:
    return (
        code.partner_id,
        code.code,
        code.canonical,
        code.external_id,
        code.is_active,
        code.starts_at,
        code.expires_at,
        code.redemption_limit,
        code.is_first_order_only,
        code.minimum_minor,
        code.minimum_currency,
        code.is_limited_to_customer,
        code.customer_id,
        code.customer_name,
        code.is_limited_to_partner,
        code.commission_hundredths,
        orjson.dumps(code.metadata).decode(),
    )


def _code(row: Any) -> PromotionCode:
    members = dict(row)
    members["metadata"] = orjson.loads(members["metadata"])
    return PromotionCode(**members)
