"""What the redemption service would report: a code was used, told as its events tell it."""

import hashlib
import uuid
from datetime import datetime

from services.codes.domain.usage import Usage, UsageReport
from services.codes.usecases.record_usage import RecordUsage
from shared.database.pool import connect
from shared.ids import new_id
from tests.databases import Database


async def redeem(database: Database, code_id: str, now: datetime, count: int = 1) -> None:
    """Let the codes service know of uses of a code; the count is also its version."""
    async with connect(database.codes, "codes", 2) as pool:
        async with pool.connection() as connection:
            program_id = await connection.fetchval("SELECT program_id FROM promotion_codes WHERE id = $1", code_id)
        usage = Usage(uuid.UUID(code_id), program_id, count, count, now)
        event_id = str(new_id())
        digest = hashlib.sha256(event_id.encode()).digest()
        await RecordUsage(pool)([UsageReport("/mintwire/redemption", event_id, digest, now, usage, None)])
