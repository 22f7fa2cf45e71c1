"""Stores the dead letters that their full queue cannot take, until they are put back."""

from collections.abc import Sequence
from typing import Final

from shared.database.pool import Connection, Database
from shared.events.overflow import KeptLetter

COUNTED_AT_MOST: Final = 10_000

# Written in the order of their digests, or two processes with the same letters would deadlock; their times differ by a
# microsecond, or they would return in the order of the digests.
KEEP_LETTERS = """
INSERT INTO dead_overflow (digest, properties, foreign_headers, body, kept_at)
SELECT digest, properties, foreign_headers, body, statement_timestamp() + place * interval '1 microsecond'
FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[]) WITH ORDINALITY
     AS letters (digest, properties, foreign_headers, body, place)
ORDER BY digest
ON CONFLICT (digest) DO NOTHING
"""
CLAIM_LETTERS = """
WITH claimed AS (
    UPDATE dead_overflow SET leased_until = clock_timestamp() + make_interval(secs => $2)
    WHERE digest IN (
        SELECT digest FROM dead_overflow WHERE leased_until < clock_timestamp()
        ORDER BY kept_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING properties, foreign_headers, body, kept_at)
SELECT properties, foreign_headers, body FROM claimed ORDER BY kept_at
"""
FORGET_LETTERS = "DELETE FROM dead_overflow WHERE digest = ANY($1::bytea[])"
COUNT_LETTERS = "SELECT count(*) FROM (SELECT FROM dead_overflow LIMIT $1) counted"


class OverflowTable:
    """Moves letters into and out of the table; every operation is safe to repeat."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, letters: Sequence[KeptLetter]) -> None:
        """Store letters; those stored already stay unchanged."""
        async with self._database.connection() as connection:
            await keep_letters(connection, letters)

    async def claim(self, limit: int, lease_seconds: float) -> list[KeptLetter]:
        """Lease the oldest letters that no process has in hand."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(CLAIM_LETTERS, limit, lease_seconds)
        return [KeptLetter(row["properties"], row["foreign_headers"], row["body"]) for row in rows]

    async def forget(self, letters: Sequence[KeptLetter]) -> None:
        """Remove letters that are back in their queue."""
        async with self._database.connection() as connection:
            await connection.execute(FORGET_LETTERS, [each.digest for each in letters])

    async def count(self) -> int:
        """Return their number, counted up to ten thousand."""
        async with self._database.connection() as connection:
            counted: int = await connection.fetchval(COUNT_LETTERS, COUNTED_AT_MOST)
        return counted


async def keep_letters(connection: Connection, letters: Sequence[KeptLetter]) -> None:
    """Store letters; those stored already stay unchanged."""
    await connection.execute(
        KEEP_LETTERS,
        [each.digest for each in letters],
        [each.properties for each in letters],
        [each.foreign_headers for each in letters],
        [each.body for each in letters],
    )
