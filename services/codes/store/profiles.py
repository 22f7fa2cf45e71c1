"""A partner as it is shown to itself."""

import uuid
from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from services.codes.domain.profiles import Profile, RateWindow
from services.codes.domain.quota import Quota
from shared.database.pool import Connection
from shared.database.rows import Rows

FIND_PROFILE = """
SELECT p.name, p.code_prefix AS prefix, p.status, p.status_changed_at,
       coalesce(p.support_email, g.support_email) AS support_address, g.id AS program_id, g.name AS program_name,
       g.currency, g.timezone, g.code_packs, k.id AS coupon_id, p.quota_granted AS granted,
       p.quota_adjusted AS adjusted, p.quota_minted AS minted, p.quota_refunded AS refunded
FROM partners p JOIN programs g ON g.id = p.program_id
JOIN coupons k ON k.program_id = g.id AND k.is_partner_coupon
WHERE p.id = $1 AND p.archived_at IS NULL
"""
# A partner's live keys along the index of their slots, and the account that asks. A window runs for 60 s from its first
# request, as the mint reads it (`store.minting`).
LIST_WINDOWS = """
SELECT id AS key_id, name, rate_limit_per_minute AS "limit",
       CASE WHEN is_running THEN window_used ELSE 0 END AS used,
       CASE WHEN is_running THEN extract(epoch FROM window_started_at - clock_timestamp())::float8 + 60
            ELSE 0 END AS resets_in_seconds
FROM (
    SELECT id, name, rate_limit_per_minute, window_used, window_started_at,
           window_started_at > clock_timestamp() - interval '60 s' AND window_started_at <= clock_timestamp()
               AS is_running
    FROM (
        (SELECT id, name, scopes, rate_limit_per_minute, window_used, window_started_at FROM api_keys
         WHERE coalesce(partner_id, program_id) = $1 AND kind = 'secret' AND revoked_at IS NULL
         ORDER BY purpose, slot LIMIT 100)
        UNION ALL
        SELECT id, name, scopes, rate_limit_per_minute, window_used, window_started_at FROM api_keys
        WHERE id = $2 AND kind = 'account') k
    WHERE 'codes:generate' = ANY (scopes)) w
ORDER BY id
"""


async def find_profile(connection: Connection, partner_id: uuid.UUID) -> Profile | None:
    """Read a partner and the settings of its program that concern it."""
    row = await connection.fetchrow(FIND_PROFILE, partner_id)
    if row is None:
        return None
    return _PROFILE(row, quota=Quota(**{each.name: row[each.name] for each in fields(Quota)}))


async def list_windows(connection: Connection, partner_id: uuid.UUID, caller_id: uuid.UUID) -> Sequence[RateWindow]:
    """Read the rate windows of a partner's live keys that may mint, up to 100, and that of the calling account."""
    return [_window(row) for row in await connection.fetch(LIST_WINDOWS, partner_id, caller_id)]


_PROFILE: Final = Rows(Profile, "quota")
_window: Final = Rows(RateWindow)
