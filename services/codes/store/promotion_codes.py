"""Promotion codes as their program sees them. Statements find ids; one statement reads the rows."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from services.codes.domain.errors import CodeTaken, ExternalIDTaken
from services.codes.domain.promotion_codes import PromotionCode
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values

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
NEWEST_OF_COUPONS = """
SELECT c.id FROM unnest($1::uuid[]) AS k (id)
CROSS JOIN LATERAL (
    SELECT id FROM promotion_codes WHERE coupon_id >= k.id AND coupon_id <= k.id AND archived_at IS NULL
    ORDER BY coupon_id DESC, id DESC LIMIT $2) c
"""


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
