"""Migrations: once each, in order, from several places at once, and never changed afterwards."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from shared.database.migrations import MigrationError, migrate
from tests.databases import Database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE first (id int PRIMARY KEY);")
    (tmp_path / "0002_second.sql").write_text("ALTER TABLE first ADD COLUMN name text;")
    (tmp_path / "0003_index.sql").write_text(
        "-- no transaction: built beside live traffic\nCREATE INDEX CONCURRENTLY first_name ON first (name);"
    )
    return tmp_path


async def run(database: Database, folder: Path) -> list[str]:
    return await migrate(database.admin, database.codes, schema="codes", role="mintwire_codes", folder=folder)


async def test_each_file_is_applied_once_and_in_order(empty_database: Database, folder: Path) -> None:
    applied = await run(empty_database, folder)
    assert applied == ["shared/0001_events", "codes/0001_first", "codes/0002_second", "codes/0003_index"]
    assert await run(empty_database, folder) == []


async def test_several_at_once_end_well(empty_database: Database, folder: Path) -> None:
    """Unlocked they crash; with a blocking lock they deadlock with the concurrent index."""
    results = await asyncio.gather(*(run(empty_database, folder) for _ in range(4)))
    assert sorted(len(applied) for applied in results) == [0, 0, 0, 4]


async def test_a_file_changed_after_it_was_applied_is_refused(empty_database: Database, folder: Path) -> None:
    await run(empty_database, folder)
    (folder / "0002_second.sql").write_text("ALTER TABLE first ADD COLUMN other text;")
    with pytest.raises(MigrationError, match="0002_second"):
        await run(empty_database, folder)


async def test_a_failing_file_leaves_nothing_of_itself(empty_database: Database, folder: Path) -> None:
    (folder / "0002_second.sql").write_text("CREATE TABLE half (id int); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await run(empty_database, folder)
    (folder / "0002_second.sql").write_text("CREATE TABLE half (id int); ALTER TABLE first ADD COLUMN name text;")
    assert await run(empty_database, folder) == ["codes/0002_second", "codes/0003_index"]


async def test_a_url_of_another_role_is_refused(empty_database: Database, folder: Path) -> None:
    with pytest.raises(MigrationError, match="mintwire_codes"):
        await migrate(
            empty_database.admin, empty_database.webhooks, schema="codes", role="mintwire_codes", folder=folder
        )
