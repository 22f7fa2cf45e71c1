"""The failed guesses of publishable keys, one row per key and address, in the database for all replicas together."""

import uuid
from datetime import datetime

from services.redemption.domain.guesses import BUDGET, WINDOW
from shared.database.pool import Connection

# Charged before the code is read: concurrent guesses cannot all run before the first has failed. A window starts with
# its first guess. Later requests clear rows of ended windows, a few at a time.
CHARGE_GUESS = """
WITH cleared AS (
    DELETE FROM guesses WHERE (key_id, address) IN (
        SELECT key_id, address FROM guesses
        WHERE window_started_at <= $3::timestamptz - $5::interval AND (key_id, address) <> ($1, $2)
        ORDER BY window_started_at LIMIT 10 FOR UPDATE SKIP LOCKED)
)
INSERT INTO guesses AS g (key_id, address, window_started_at, charged) VALUES ($1, $2, $3, 1)
ON CONFLICT (key_id, address) DO UPDATE SET
    window_started_at = CASE WHEN g.window_started_at > $3 - $5 THEN g.window_started_at ELSE $3 END,
    charged = CASE WHEN g.window_started_at > $3 - $5 THEN g.charged + 1 ELSE 1 END
    WHERE g.charged < $4 OR g.window_started_at <= $3 - $5
RETURNING g.window_started_at
"""
FIND_WINDOW = "SELECT window_started_at FROM guesses WHERE key_id = $1 AND address = $2"
# A window that began later was never charged for this guess.
REFUND_GUESS = """
UPDATE guesses SET charged = charged - 1
WHERE key_id = $1 AND address = $2 AND window_started_at = $3 AND charged > 0
"""


async def charge_guess(connection: Connection, key_id: uuid.UUID, address: str, now: datetime) -> datetime | None:
    """Charge one guess and return when its window started; None if the budget of the window is used up."""
    started: datetime | None = await connection.fetchval(CHARGE_GUESS, key_id, address, now, BUDGET, WINDOW)
    return started


async def find_window(connection: Connection, key_id: uuid.UUID, address: str) -> datetime | None:
    """Read when the window with the used-up budget started."""
    started: datetime | None = await connection.fetchval(FIND_WINDOW, key_id, address)
    return started


async def refund_guess(connection: Connection, key_id: uuid.UUID, address: str, started_at: datetime) -> None:
    """Refund the guess charged in that window: its codes were good."""
    await connection.execute(REFUND_GUESS, key_id, address, started_at)
