"""Many codes at once: the check for room, and their rows."""

import uuid
from collections.abc import Callable, Collection
from dataclasses import fields
from datetime import datetime
from typing import Final

import orjson

from services.codes.domain.batches import BatchTerms
from services.codes.domain.code_patterns import SpelledCodes
from services.codes.domain.given import Metadata
from services.codes.domain.jobs import Job
from shared.database.pool import Connection, affected
from shared.database.rows import Statement, Values

COUNT_TAKEN = """
SELECT count(*) FROM promotion_codes WHERE program_id = $1 AND canonical = ANY ($2::text[]) AND archived_at IS NULL
"""
# A string that exists, in the table or twice among these, is skipped; the caller generates another one.
INSERT_CODES = Statement("""
INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_active, is_auto_generated,
                             starts_at, expires_at, redemption_limit, is_first_order_only, minimum_minor,
                             minimum_currency, is_limited_to_partner, commission_hundredths, batch_id, metadata,
                             created_by_key_id, created_at, updated_at)
SELECT u.id, $program_id, $coupon_id, $partner_id, u.code, u.canonical, $is_active, true, $starts_at, $expires_at,
       $redemption_limit, $is_first_order_only, $minimum_minor, $minimum_currency, $is_limited_to_partner,
       $commission_hundredths, $batch_id, $metadata::jsonb, $created_by_key_id, $now, $now
FROM @u(id uuid, code text, canonical text)
ON CONFLICT (program_id, canonical) WHERE archived_at IS NULL DO NOTHING
""")
# For the reason of bounds see `store.code_lists`.
LIST_BATCH = """
SELECT code FROM promotion_codes WHERE batch_id >= $1 AND batch_id <= $1 ORDER BY batch_id, id LIMIT $2
"""


async def count_taken(connection: Connection, program_id: uuid.UUID, canonicals: Collection[str]) -> int:
    """Return how many of these strings live codes of the program have."""
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
        *INSERT_CODES(
            **_TERMS.of(terms),
            u={"id": [new_id() for _ in spelled.codes], "code": spelled.codes, "canonical": spelled.canonicals},
            program_id=batch.program_id,
            coupon_id=batch.coupon_id,
            batch_id=batch.id,
            created_by_key_id=batch.key_id,
            now=now,
        )
    )
    return affected(status)


async def list_batch(connection: Connection, batch_id: uuid.UUID, limit: int) -> list[str]:
    """Read up to `limit` codes of a batch in displayed form, in order of creation."""
    return [row["code"] for row in await connection.fetch(LIST_BATCH, batch_id, limit)]


def _json(metadata: Metadata) -> str:
    return orjson.dumps(dict(metadata)).decode()


_TERMS: Final = Values([each.name for each in fields(BatchTerms)], BatchTerms, metadata=_json)
