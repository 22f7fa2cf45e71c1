"""Quarters of an hour whose statistics have to be counted again, and who counts them.

What is counted, and how, is the service's: here is which quarters, one process at a time, and in which order. Taking a
quarter off the list and counting it are one transaction, and it counts on a later snapshot than that which took it off:
whatever was written before is counted, and whatever is written meanwhile is on the list again.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from shared.database.pool import Connection, Database
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import FIRST_ID
from shared.steps import QUARTER

INTERVAL_SECONDS: Final = 30.0
AT_ONCE: Final = 50
WALKED_AT_ONCE: Final = 500

LOCK_KIND = """
SELECT sealed_before, clock_timestamp() AS now FROM stats_kinds WHERE kind = $1 FOR UPDATE SKIP LOCKED
"""
# From quarter to quarter, however often each was touched.
NEXT_TOUCHED = Statement("""
WITH RECURSIVE found AS (
    (SELECT program_id, quarter FROM stats_touched
     WHERE kind = $kind AND (program_id, quarter) > ($program_id, $quarter) ORDER BY program_id, quarter LIMIT 1)
    UNION ALL
    SELECT n.program_id, n.quarter FROM found f CROSS JOIN LATERAL (
        SELECT program_id, quarter FROM stats_touched
        WHERE kind = $kind AND (program_id, quarter) > (f.program_id, f.quarter)
        ORDER BY program_id, quarter LIMIT 1) n
)
SELECT program_id, quarter FROM found LIMIT $limit
""")
# Looked up one by one (OFFSET 0), however small the table looks; nobody else removes any.
TAKE_TOUCHED = Statement("""
DELETE FROM stats_touched WHERE ctid = ANY (ARRAY(
    SELECT t.place FROM @b(program_id uuid, quarter timestamptz) CROSS JOIN LATERAL (
        SELECT ctid AS place FROM stats_touched
        WHERE kind = $kind AND program_id = b.program_id AND quarter = b.quarter OFFSET 0) t))
""")
TOUCH = Statement("""
INSERT INTO stats_touched (kind, program_id, quarter) SELECT $kind, b.* FROM @b(program_id uuid, quarter timestamptz)
""")
# What an upgrade has left to find is not counted yet, so until then nothing is known to be whole.
NOTE_ROUND = """
UPDATE stats_kinds k SET recounted_at = greatest(k.recounted_at, $2)
WHERE k.kind = $1 AND NOT EXISTS (SELECT FROM stats_walks w WHERE w.kind = $1 AND w.due_at <= now())
"""
LOCK_WALK = """
SELECT name, due_at, program_id, walked_to FROM stats_walks
WHERE kind = $1 AND due_at <= now() ORDER BY due_at, name LIMIT 1 FOR UPDATE SKIP LOCKED
"""
MOVE_WALK = "UPDATE stats_walks SET program_id = $3, walked_to = $4 WHERE name = $1 AND due_at = $2"
END_WALK = "DELETE FROM stats_walks WHERE name = $1 AND due_at = $2"
# Nothing is sealed that is still on the list, or that a walk has still to put there.
SEAL = """
UPDATE stats_kinds k
SET sealed_before = greatest(k.sealed_before, least(
    date_bin('15 minutes', $2::timestamptz, 'epoch'),
    (SELECT min(t.quarter) FROM stats_touched t WHERE t.kind = $1)))
WHERE k.kind = $1 AND NOT EXISTS (SELECT FROM stats_walks w WHERE w.kind = $1 AND w.due_at <= now())
RETURNING k.sealed_before
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A quarter of an hour of a program in one mode."""

    program_id: uuid.UUID
    quarter: datetime


FIRST: Final = Bucket(program_id=FIRST_ID, quarter=datetime(1970, 1, 1, tzinfo=UTC))
_BUCKETS: Final = Values(TAKE_TOUCHED.tables["b"], Bucket)
_bucket: Final = Rows(Bucket)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is counted together: from which facts, and along which indexes those are found that nobody has named.

    `recount` replaces what was counted of some quarters. Each of `walks` returns up to N quarters with facts,
    from the given one on, in the order of program and time.
    """

    name: str
    recount: Callable[[Connection, Sequence[Bucket]], Awaitable[None]]
    walks: Mapping[str, Callable[[Connection, Bucket, int], Awaitable[list[Bucket]]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecountStats:
    """Counts what was touched since it was last counted."""

    database: Database
    kinds: Sequence[Kind]

    async def __call__(self) -> int:
        """Return how many quarters were counted."""
        counted = 0
        for kind in self.kinds:
            while await self._walk(kind):
                pass
            counted += await self._recount(kind)
        return counted

    async def _recount(self, kind: Kind) -> int:
        counted, last, started = 0, FIRST, None
        while True:
            async with self.database.transaction() as connection:
                lock = await connection.fetchrow(LOCK_KIND, kind.name)
                if lock is None:
                    return counted
                started = started or lock["now"]
                touched = await next_touched(connection, kind.name, last)
                if not touched:
                    await connection.execute(NOTE_ROUND, kind.name, started)
                    return counted
                await connection.execute(*TAKE_TOUCHED(kind=kind.name, b=_BUCKETS.columns(touched)))
                if kept := [bucket for bucket in touched if bucket.quarter >= lock["sealed_before"]]:
                    await kind.recount(connection, kept)
            counted += len(touched)
            last = touched[-1]

    async def _walk(self, kind: Kind) -> bool:
        """Put the next quarters that a walk finds on the list; False if there is none to be done."""
        async with self.database.transaction() as connection:
            walk = await connection.fetchrow(LOCK_WALK, kind.name)
            if walk is None:
                return False
            last = Bucket(program_id=walk["program_id"], quarter=walk["walked_to"])
            found = await kind.walks[walk["name"]](connection, last, WALKED_AT_ONCE)
            await connection.execute(*TOUCH(kind=kind.name, b=_BUCKETS.columns(found)))
            if len(found) < WALKED_AT_ONCE:
                await connection.execute(END_WALK, walk["name"], walk["due_at"])
            else:
                at = found[-1].program_id, found[-1].quarter + QUARTER
                await connection.execute(MOVE_WALK, walk["name"], walk["due_at"], *at)
        return True


async def next_touched(connection: Connection, kind: str, last: Bucket, limit: int = AT_ONCE) -> list[Bucket]:
    """Return the next quarters of the list, each once."""
    rows = await connection.fetch(
        *NEXT_TOUCHED(kind=kind, program_id=last.program_id, quarter=last.quarter, limit=limit)
    )
    return [_bucket(row) for row in rows]


async def seal(connection: Connection, kind: str, before: datetime) -> datetime | None:
    """Keep what is older from being counted again, as far as it was counted; return before when facts may now go.

    None while that is not known. Inside the transaction that removes them.
    """
    sealed: datetime | None = await connection.fetchval(SEAL, kind, before)
    return sealed
