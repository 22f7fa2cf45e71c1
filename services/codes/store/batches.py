"""Many codes at once: whether there is room for them, and their rows."""

import uuid
from collections.abc import Callable, Collection
from datetime import datetime

import orjson

from services.codes.domain.batches import BatchTerms
from services.codes.domain.code_patterns import SpelledCodes
from services.codes.domain.jobs import Job
from shared.database.pool import Connection, affected

COUNT_TAKEN = """
SELECT count(*) FROM promotion_codes WHERE program_id = $1 AND canonical = ANY ($2::text[]) AND archived_at IS NULL
"""
# A string that exists, in the table or twice among these, is left out; who asks makes another in its place.
INSERT_CODES = """
INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_active, is_auto_generated,
                             starts_at, expires_at, redemption_limit, is_first_order_only, minimum_minor,
                             minimum_currency, is_limited_to_partner, commission_hundredths, batch_id, metadata,
                             created_by_key_id, created_at, updated_at)
SELECT u.id, $4, $5, $6, u.code, u.canonical, $7, true, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17::jsonb, $18, $19,
       $19
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (id, code, canonical)
ON CONFLICT (program_id, canonical) WHERE archived_at IS NULL DO NOTHING
"""
# Why by bounds is said in `store.promotion_codes`.
LIST_BATCH = """
SELECT code FROM promotion_codes WHERE batch_id >= $1 AND batch_id <= $1 ORDER BY batch_id, id LIMIT $2
"""


async def count_taken(connection: Connection, program_id: uuid.UUID, canonicals: Collection[str]) -> int:
    """Return how many of these strings a live code of the program has."""
    return int(await connection.fetchval(COUNT_TAKEN, program_id, list(canonicals)) or 0)


async def insert_codes(
    connection: Connection,
    batch: Job,
    terms: BatchTerms,
    spelled: SpelledCodes,
    new_id: Callable[[], uuid.UUID],
    now: datetime,
) -> int:
    """Write codes of a batch and return how many of them were new; about a thousand in a call are cheapest."""
    status = await connection.execute(
        INSERT_CODES,
        [new_id() for _ in spelled.codes],
        spelled.codes,
        spelled.canonicals,
        batch.program_id,
        batch.coupon_id,
        terms.partner_id,
        terms.is_active,
        terms.starts_at,
        terms.expires_at,
        terms.redemption_limit,
        terms.is_first_order_only,
        terms.minimum_minor,
        terms.minimum_currency,
        terms.is_limited_to_partner,
        terms.commission_hundredths,
        batch.id,
        orjson.dumps(dict(terms.metadata)).decode(),
        batch.key_id,
        now,
    )
    return affected(status)


async def list_batch(connection: Connection, batch_id: uuid.UUID, limit: int) -> list[str]:
    """Read the codes of a batch as they are shown, up to `limit`, in the order in which they were made."""
    return [row["code"] for row in await connection.fetch(LIST_BATCH, batch_id, limit)]
