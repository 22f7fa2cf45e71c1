"""The counts of uses on codes and coupons, taken from events; the newer version wins."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Final

from services.codes.domain.usage import KnownUsage, Usage
from shared.database.pool import Connection
from shared.database.rows import Rows

# Rows are locked in one order before any is changed, so that two batches cannot deadlock.
LOCK_CODES = """
SELECT id, program_id, coupon_id, times_redeemed AS count, times_redeemed_version AS version
FROM promotion_codes WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""
LOCK_COUPONS = "SELECT id FROM coupons WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"
UPDATE_CODES = """
UPDATE promotion_codes c
SET times_redeemed = u.count, times_redeemed_version = u.version,
    last_redeemed_at = greatest(c.last_redeemed_at, u.occurred_at)
FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::timestamptz[]) AS u (id, count, version, occurred_at)
WHERE c.id = ANY ($1::uuid[]) AND c.id = u.id AND c.times_redeemed_version < u.version
"""
UPDATE_COUPONS = """
UPDATE coupons k SET times_redeemed = u.count, times_redeemed_version = u.version
FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[]) AS u (id, program_id, count, version)
WHERE k.id = u.id AND k.program_id = u.program_id AND k.times_redeemed_version < u.version
"""
# A coupon that the redemption service counts itself has a version; its count must not be added to.
ADD_TO_COUPONS = """
UPDATE coupons k SET times_redeemed = k.times_redeemed + u.added
FROM unnest($1::uuid[], $2::int[]) AS u (id, added)
WHERE k.id = u.id AND k.times_redeemed_version = 0
"""


async def lock_codes(connection: Connection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, KnownUsage]:
    """Lock existing codes and return their known usage."""
    return {row["id"]: _known(row) for row in await connection.fetch(LOCK_CODES, ids)}


async def lock_coupons(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """Lock these coupons."""
    await connection.execute(LOCK_COUPONS, ids)


async def write_codes(connection: Connection, usages: Sequence[Usage]) -> None:
    """Write newer counts of locked codes; at most one usage per code."""
    await connection.execute(
        UPDATE_CODES,
        [usage.id for usage in usages],
        [usage.count for usage in usages],
        [usage.version for usage in usages],
        [usage.occurred_at for usage in usages],
    )


async def write_coupons(connection: Connection, usages: Sequence[Usage]) -> None:
    """Write newer counts of locked coupons; at most one usage per coupon."""
    await connection.execute(
        UPDATE_COUPONS,
        [usage.id for usage in usages],
        [usage.program_id for usage in usages],
        [usage.count for usage in usages],
        [usage.version for usage in usages],
    )


async def add_to_coupons(connection: Connection, added: Mapping[uuid.UUID, int]) -> None:
    """Add to the counts of locked coupons that the redemption service does not count."""
    await connection.execute(ADD_TO_COUPONS, list(added), list(added.values()))


_known: Final = Rows(KnownUsage)
