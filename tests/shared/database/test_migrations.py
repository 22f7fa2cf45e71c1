"""Migrations: once each, in order, from several places at once, and never changed afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import structlog

from shared.database.migrations import SHARED_FOLDER, MigrationError, migrate, read_migrations
from tests.databases import Database, new_database

SHARED = [migration.name for migration in read_migrations(SHARED_FOLDER, "shared")]


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
    assert applied == [*SHARED, "codes/0001_first", "codes/0002_second", "codes/0003_index"]
    assert await run(empty_database, folder) == []


async def test_several_at_once_end_well(empty_database: Database, folder: Path) -> None:
    """Unlocked they crash; with a blocking lock they deadlock with the concurrent index."""
    results = await asyncio.gather(*(run(empty_database, folder) for _ in range(4)))
    assert sorted(len(applied) for applied in results) == [0, 0, 0, len(SHARED) + 3]


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


@asynccontextmanager
async def role_of_its_own(database: Database, attributes: str) -> AsyncIterator[str]:
    """A login role that is none of ours, and its password; what it owns goes with it."""
    admin = await asyncpg.connect(database.admin)
    await admin.execute(f"CREATE ROLE stranger LOGIN PASSWORD 'stranger' {attributes}")
    try:
        yield "stranger"
    finally:
        await admin.execute("REASSIGN OWNED BY stranger TO CURRENT_USER; DROP OWNED BY stranger; DROP ROLE stranger")
        await admin.close()


async def may_connect(role_url: str, name: str) -> bool:
    try:
        connection = await asyncpg.connect(urlsplit(role_url)._replace(path=f"/{name}").geturl())
    except asyncpg.InsufficientPrivilegeError:
        return False
    await connection.close()
    return True


async def test_a_role_connects_to_its_own_database_only(
    empty_database: Database, database_server_url: str, folder: Path
) -> None:
    """On any other one of the server, `postgres` first of all, PostgreSQL would let it look around."""
    async with new_database(database_server_url) as other:
        await run(empty_database, folder)
        assert await may_connect(empty_database.codes, empty_database.name)
        for name in (other.name, "postgres", "template1"):
            assert not await may_connect(empty_database.codes, name), name


async def test_what_others_on_the_server_live_by_is_left_alone(
    empty_database: Database, database_server_url: str, folder: Path
) -> None:
    async with new_database(database_server_url) as other, role_of_its_own(empty_database, "") as role:
        url = other.admin.replace(urlsplit(other.admin).netloc.partition("@")[0], f"{role}:{role}")
        with structlog.testing.capture_logs() as logs:
            await run(empty_database, folder)
        assert await may_connect(url, other.name)
        [said] = [entry for entry in logs if entry["event"] == "roles_not_confined"]
        assert other.name in said["databases"]
        assert not await may_connect(url, empty_database.name)


async def test_an_operator_that_is_no_superuser_confines_what_it_owns(
    empty_database: Database, database_server_url: str, folder: Path
) -> None:
    """As on servers that are rented: nothing fails for want of rights, and what belongs to others stays open."""
    async with (
        new_database(database_server_url) as foreign,
        new_database(database_server_url) as own,
        role_of_its_own(empty_database, "CREATEROLE") as role,
    ):
        admin = await asyncpg.connect(own.admin)
        for name in (empty_database.name, own.name):
            await admin.execute(f'ALTER DATABASE "{name}" OWNER TO {role}')
        await admin.close()
        owner = empty_database.admin.replace(urlsplit(own.admin).netloc.partition("@")[0], f"{role}:{role}")
        await migrate(owner, empty_database.codes, schema="codes", role="mintwire_codes", folder=folder)
        assert await may_connect(empty_database.codes, empty_database.name)
        assert not await may_connect(empty_database.codes, own.name)
        assert await may_connect(empty_database.codes, foreign.name)


async def test_a_url_of_another_role_is_refused(empty_database: Database, folder: Path) -> None:
    with pytest.raises(MigrationError, match="mintwire_codes"):
        await migrate(
            empty_database.admin, empty_database.webhooks, schema="codes", role="mintwire_codes", folder=folder
        )
