"""Promotion codes as their program sees them. Statements find ids; one statement reads the rows."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from services.codes.domain.errors import CodeTaken, ExternalIDTaken
from services.codes.domain.pages import Page
from services.codes.domain.promotion_codes import PromotionCode
from services.codes.store.pages import MOST_COUPONS, SCANNED_PER_PAGE, page_of_ids
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import LAST_ID

# A taken string is not an error here: the caller generates another one.
INSERT_CODE = Statement("""
INSERT INTO promotion_codes (id, program_id, coupon_id, created_at, updated_at, is_auto_generated, created_by_key_id,
                             partner_id, code, canonical, external_id, is_active, starts_at, expires_at,
                             redemption_limit, is_first_order_only, minimum_minor, minimum_currency,
                             is_limited_to_customer, customer_id, customer_name, is_limited_to_partner,
                             commission_hundredths, metadata)
VALUES ($id, $program_id, $coupon_id, $created_at, $updated_at, $is_auto_generated, $created_by_key_id, $partner_id,
        $code, $canonical, $external_id, $is_active, $starts_at, $expires_at, $redemption_limit, $is_first_order_only,
        $minimum_minor, $minimum_currency, $is_limited_to_customer, $customer_id, $customer_name,
        $is_limited_to_partner, $commission_hundredths, $metadata)
ON CONFLICT (program_id, canonical) WHERE archived_at IS NULL DO NOTHING
RETURNING id
""")
UPDATE_CODE = Statement("""
UPDATE promotion_codes SET
    reference = CASE WHEN partner_id IS NOT DISTINCT FROM $partner_id THEN reference END,
    updated_at = $updated_at, partner_id = $partner_id, code = $code, canonical = $canonical,
    external_id = $external_id, is_active = $is_active, starts_at = $starts_at, expires_at = $expires_at,
    redemption_limit = $redemption_limit, is_first_order_only = $is_first_order_only, minimum_minor = $minimum_minor,
    minimum_currency = $minimum_currency, is_limited_to_customer = $is_limited_to_customer, customer_id = $customer_id,
    customer_name = $customer_name, is_limited_to_partner = $is_limited_to_partner,
    commission_hundredths = $commission_hundredths, metadata = $metadata
WHERE id = $id
""")
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
# Codes of a program or of one of its coupons, each by its index; the other branch is not even started. The last row, a
# mark, means that there may be more.
#
# Bounds instead of an equal sign, and an order by every column of the index: otherwise the planner would prefer to walk
# the primary key backwards and read each code on its way, which ends soon for a coupon with many codes, and never for
# one that has none among ten million. The index alone answers; the rows of the selected ids are read afterwards.
LIST_OF_PROGRAM = Statement("""
WITH scanned AS (
    (SELECT id FROM promotion_codes
     WHERE $coupon::uuid IS NULL AND (program_id, id) < ($program, $before) AND program_id >= $program
       AND archived_at IS NULL
     ORDER BY program_id DESC, id DESC LIMIT $scanned)
    UNION ALL
    (SELECT id FROM promotion_codes
     WHERE $coupon::uuid IS NOT NULL AND (coupon_id, id) < ($coupon, $before) AND coupon_id >= $coupon
       AND archived_at IS NULL
     ORDER BY coupon_id DESC, id DESC LIMIT $scanned)
), chosen AS (
    SELECT s.id FROM scanned s
    WHERE $is_active::boolean IS NULL OR (SELECT c.is_active FROM promotion_codes c WHERE c.id = s.id) = $is_active
    ORDER BY s.id DESC OFFSET $offset LIMIT $limit
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING count(*) = $scanned
""")
# Codes of a partner: for one coupon, or coupon by coupon along the index; the newest of each, then the newest of all.
# Codes older than the last one read of a coupon with more are left to the next page. For a partner with codes of very
# many coupons the program's codes are searched instead, so that the cost of a page grows neither with the number of its
# coupons nor with that of its codes.
LIST_OF_PARTNER = Statement("""
WITH RECURSIVE coupon AS (
    (SELECT $coupon::uuid AS coupon_id WHERE $coupon::uuid IS NOT NULL
     UNION ALL
     (SELECT coupon_id FROM promotion_codes
      WHERE $coupon::uuid IS NULL AND partner_id >= $partner AND partner_id <= $partner AND archived_at IS NULL
      ORDER BY partner_id, coupon_id LIMIT 1))
    UNION ALL
    SELECT (SELECT c.coupon_id FROM promotion_codes c
            WHERE (c.partner_id, c.coupon_id) > ($partner, k.coupon_id) AND c.partner_id <= $partner
              AND c.archived_at IS NULL
            ORDER BY c.partner_id, c.coupon_id LIMIT 1)
    FROM coupon k WHERE k.coupon_id IS NOT NULL AND $coupon::uuid IS NULL
), few AS MATERIALIZED (
    SELECT coupon_id FROM coupon WHERE coupon_id IS NOT NULL LIMIT $most_coupons + 1
), share AS MATERIALIZED (
    SELECT greatest($offset::bigint + $limit, $scanned::bigint / greatest(1, count(*))) AS size FROM few
), scanned AS MATERIALIZED (
    SELECT c.id, true AS is_own, c.place = (SELECT size FROM share) AS is_last
    FROM few k CROSS JOIN LATERAL (
        SELECT id, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id FROM promotion_codes
            WHERE (partner_id, coupon_id, id) < ($partner, k.coupon_id, $before)
              AND (partner_id, coupon_id) >= ($partner, k.coupon_id)
              AND partner_id IS NOT NULL AND archived_at IS NULL
            ORDER BY partner_id DESC, coupon_id DESC, id DESC LIMIT (SELECT size FROM share)) n) c
    WHERE (SELECT count(*) FROM few) <= $most_coupons
    UNION ALL
    SELECT id, is_own, place = greatest($offset::bigint + $limit, $most_other) FROM (
        SELECT id, is_own, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, partner_id IS NOT DISTINCT FROM $partner AS is_own FROM promotion_codes
            WHERE (SELECT count(*) FROM few) > $most_coupons AND (program_id, id) < ($program, $before)
              AND program_id >= $program
              AND archived_at IS NULL
            ORDER BY program_id DESC, id DESC LIMIT greatest($offset::bigint + $limit, $most_other)) n) c
), mark AS MATERIALIZED (
    SELECT id FROM scanned WHERE is_last ORDER BY id DESC LIMIT 1
), chosen AS (
    SELECT s.id FROM scanned s
    WHERE s.is_own AND NOT EXISTS (SELECT FROM mark m WHERE s.id < m.id)
      AND ($is_active::boolean IS NULL OR (SELECT c.is_active FROM promotion_codes c WHERE c.id = s.id) = $is_active)
    ORDER BY s.id DESC OFFSET $offset LIMIT $limit
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT id, true FROM mark
""")
LIST_OF_CUSTOMER = Statement("""
WITH scanned AS (
    SELECT id, coupon_id, partner_id, is_active FROM promotion_codes
    WHERE (program_id, customer_id, id) < ($program, $customer, $before)
      AND (program_id, customer_id) >= ($program, $customer)
      AND customer_id IS NOT NULL AND archived_at IS NULL
    ORDER BY program_id DESC, customer_id DESC, id DESC LIMIT $scanned
), chosen AS (
    SELECT id FROM scanned
    WHERE ($is_active::boolean IS NULL OR is_active = $is_active) AND ($coupon::uuid IS NULL OR coupon_id = $coupon)
      AND ($partner::uuid IS NULL OR partner_id = $partner)
    ORDER BY id DESC OFFSET $offset LIMIT $limit
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING count(*) = $scanned
""")
NEWEST_OF_COUPONS = """
SELECT c.id FROM unnest($1::uuid[]) AS k (id)
CROSS JOIN LATERAL (
    SELECT id FROM promotion_codes WHERE coupon_id >= k.id AND coupon_id <= k.id AND archived_at IS NULL
    ORDER BY coupon_id DESC, id DESC LIMIT $2) c
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter of a program's live codes, with every name resolved."""

    program_id: uuid.UUID
    coupon_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None
    customer_id: str | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a list: older than `after`, without the first `offset`, at most `limit`."""

    after: uuid.UUID | None
    offset: int
    limit: int


async def insert_code(connection: Connection, code: PromotionCode) -> bool:
    """Write a code; False if its string is taken. Raises ExternalIDTaken."""
    with _translated(code):
        found = await connection.fetchval(*INSERT_CODE(**_INSERTED.of(code)))
    return found is not None


async def update_code(connection: Connection, code: PromotionCode) -> None:
    """Write the changeable members of a code; the row must be locked. Raises CodeTaken or ExternalIDTaken."""
    with _translated(code):
        await connection.execute(*UPDATE_CODE(**_UPDATED.of(code)))


async def archive_code(connection: Connection, code_id: uuid.UUID, now: datetime) -> None:
    """Archive a locked code; its string becomes available again."""
    await connection.execute(ARCHIVE_CODE, code_id, now)


async def read_codes(connection: Connection, program_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> list[PromotionCode]:
    """Read the codes of these ids, including archived ones, newest first."""
    if not ids:
        return []
    return [_code(row) for row in await connection.fetch(READ_CODES, program_id, ids)]


async def lock_code(connection: Connection, program_id: uuid.UUID, code_id: uuid.UUID) -> PromotionCode | None:
    """Read one code, archived or not, and lock it until the transaction ends."""
    if await connection.fetchval(LOCK_CODE, program_id, code_id) is None:
        return None
    return (await read_codes(connection, program_id, [code_id]))[0]


async def find_by_canonical(connection: Connection, program_id: uuid.UUID, canonical: str) -> uuid.UUID | None:
    """Find the live code with this string."""
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
    listed = {
        "program": wanted.program_id,
        "coupon": wanted.coupon_id,
        "is_active": wanted.is_active,
        "before": part.after or LAST_ID,
        "offset": part.offset,
        "limit": part.limit + 1,
        "scanned": bound,
    }
    if wanted.customer_id is not None:
        rows = await connection.fetch(
            *LIST_OF_CUSTOMER(**listed, customer=wanted.customer_id, partner=wanted.partner_id)
        )
    elif wanted.partner_id is not None:
        rows = await connection.fetch(
            *LIST_OF_PARTNER(**listed, partner=wanted.partner_id, most_coupons=MOST_COUPONS, most_other=scanned)
        )
    else:
        rows = await connection.fetch(*LIST_OF_PROGRAM(**listed))
    return page_of_ids(rows, part.limit)


async def newest_of_coupons(
    connection: Connection, program_id: uuid.UUID, coupon_ids: Sequence[uuid.UUID], most: int
) -> Mapping[uuid.UUID, list[PromotionCode]]:
    """Read the newest live codes of each coupon, up to a limit per coupon."""
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
            raise ExternalIDTaken from error
        raise


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


_code: Final = Rows(PromotionCode, metadata=orjson.loads)
_INSERTED: Final = Values(INSERT_CODE.names, PromotionCode, metadata=_json)
_UPDATED: Final = Values(UPDATE_CODE.names, PromotionCode, metadata=_json)
