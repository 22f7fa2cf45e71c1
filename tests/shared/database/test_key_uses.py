"""Uses of keys are noted without a write each, and written once a minute per key, whatever processes there are."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from shared.database.key_uses import KeyUses
from shared.database.pool import Connection, connect
from shared.database.pool import Database as Pool
from shared.faults import TransientFault
from tests.databases import Database

NOW = datetime(2026, 3, 18, 12, 30, 45, tzinfo=UTC)
MINUTE = NOW.replace(second=0)
# A row's `xmin` changes with each write of it.
READ = "SELECT key_id, last_used_at, xmin::text AS written FROM key_uses"


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with connect(database.codes, "codes", 2) as made:
        yield made


async def stored(pool: Pool) -> dict[uuid.UUID, tuple[datetime, str]]:
    async with pool.connection() as connection:
        return {row["key_id"]: (row["last_used_at"], row["written"]) for row in await connection.fetch(READ)}


def note(uses: KeyUses, key_id: uuid.UUID, at: datetime, times: int = 1) -> None:
    for _ in range(times):
        uses.note(key_id, at.timestamp())


async def test_many_uses_in_a_minute_are_one_write_over_all_processes(pool: Pool) -> None:
    one, two = uuid.uuid4(), uuid.uuid4()
    processes = [KeyUses(pool), KeyUses(pool)]
    for uses in processes:
        note(uses, one, NOW, 1000)
        note(uses, two, NOW - timedelta(minutes=5))
    await processes[0].write()
    first = await stored(pool)
    assert {key: at for key, (at, _) in first.items()} == {one: MINUTE, two: MINUTE - timedelta(minutes=5)}
    await processes[1].write()
    for uses in processes:
        note(uses, one, NOW + timedelta(seconds=14))
        await uses.write()
    assert await stored(pool) == first
    note(processes[1], one, NOW + timedelta(seconds=15))
    await processes[1].write()
    assert (await stored(pool))[one][0] == MINUTE + timedelta(minutes=1)
    assert (await stored(pool))[two] == first[two]


async def test_what_is_late_never_takes_the_time_back(pool: Pool) -> None:
    key, slow, fast = uuid.uuid4(), KeyUses(pool), KeyUses(pool)
    note(slow, key, NOW)
    note(fast, key, NOW + timedelta(minutes=3))
    await fast.write()
    await slow.write()
    assert (await stored(pool))[key][0] == MINUTE + timedelta(minutes=3)


class Away:
    """A database that is away."""

    def connection(self) -> Connection:
        raise TransientFault("away")


async def test_what_could_not_be_written_is_written_the_next_time(pool: Pool) -> None:
    key, other = uuid.uuid4(), uuid.uuid4()
    uses = KeyUses(cast("Pool", Away()))
    note(uses, key, NOW)
    note(uses, other, NOW)
    with pytest.raises(TransientFault):
        await uses.write()
    note(uses, key, NOW + timedelta(minutes=2))
    uses._database = pool
    await uses.write()
    found = await stored(pool)
    assert (found[key][0], found[other][0]) == (MINUTE + timedelta(minutes=2), MINUTE)


async def test_nothing_used_is_nothing_written() -> None:
    """An idle service must not ask the database for anything."""
    await KeyUses(cast("Pool", Away())).write()
