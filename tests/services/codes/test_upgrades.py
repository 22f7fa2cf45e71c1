"""Migrations meet what is there: data from before a rule, and processes of the release before."""

import shutil
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

import services.codes
from shared.database import migrations
from shared.ids import new_id
from tests.databases import Database
from tests.services.codes.conftest import HeldClock, running_service

FOLDER = Path(services.codes.__file__).parent / "migrations"
NOW = datetime(2026, 7, 1, tzinfo=UTC)
PROGRAM = uuid.UUID(int=1)
INSERT_PROGRAM = """
INSERT INTO codes.programs (id, name, link_url, created_at, updated_at)
VALUES ($1, 'Shop', 'https://shop.example/', $2, $2)
"""
# As the release before these rules inserts a partner, and asks whether one exists.
INSERT_PARTNER = """
INSERT INTO codes.partners (id, program_id, name, code_prefix, created_at, updated_at, archived_at)
VALUES ($1, $2, $3, $3, $4, $4, $5)
ON CONFLICT (program_id, code_prefix) WHERE archived_at IS NULL DO NOTHING
"""
PARTNER_EXISTS = """
SELECT EXISTS (SELECT 1 FROM codes.credential_v1 WHERE program_id = $1 AND partner_id = $2)
    OR EXISTS (SELECT 1 FROM codes.redeemable_v1 WHERE program_id = $1 AND partner_id = $2)
"""


async def migrate(database: Database, folder: Path) -> None:
    await migrations.migrate(database.admin, database.codes, schema="codes", role="mintwire_codes", folder=folder)


@pytest.fixture
async def admin(empty_database: Database, tmp_path: Path) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A database as the release before left it, with a program."""
    for path in FOLDER.glob("*.sql"):
        if path.name < "0070":
            shutil.copy(path, tmp_path)
    await migrate(empty_database, tmp_path)
    connection = await asyncpg.connect(empty_database.admin)
    await connection.execute(INSERT_PROGRAM, PROGRAM, NOW)
    yield connection
    await connection.close()


async def test_prefixes_that_read_the_same_from_before_the_rule_stay(
    empty_database: Database, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A migration that fails on data which was fine yesterday stops the release."""
    ids: dict[str, uuid.UUID] = {}
    for number, (prefix, archived_at) in enumerate(
        [("SH0P", NOW), ("SHOP", None), ("SH0P", None), ("LILY", None), ("1I1Y", None), ("ACME", None)]
    ):
        ids[prefix] = new_id()
        await admin.execute(INSERT_PARTNER, ids[prefix], PROGRAM, prefix, NOW + timedelta(seconds=number), archived_at)
    await migrate(empty_database, FOLDER)
    async with running_service(empty_database, HeldClock()) as service:
        program = await service.with_key(f"/v1/programs/{PROGRAM}")
        listed = (await service.send("GET", "/v1/partners", program.key)).data
        assert {each["prefix"] for each in listed} == {"SHOP", "SH0P", "LILY", "1I1Y", "ACME"}
        # Partners that share a prefix can be changed, and can give it up, but nobody can have it after that.
        younger = f"/v1/partners/{ids['SH0P']}"
        assert (await service.send("PATCH", younger, program.key, {"name": "Younger"})).status == 200
        assert (await service.send("DELETE", f"/v1/partners/{ids['SHOP']}", program.key)).status == 200
        for prefix in ("SHOP", "LI1Y"):
            draft = {"name": "New", "prefix": prefix}
            assert (await service.send("POST", "/v1/partners", program.key, draft)).body["code"] == "prefix_taken"
        assert (await service.send("PATCH", younger, program.key, {"prefix": "BEACH"})).status == 200
        assert (await service.send("POST", "/v1/partners", program.key, {"name": "A", "prefix": "SHOP"})).status == 201
        refused = await service.send("PATCH", younger, program.key, {"prefix": "SH0P"})
        assert (refused.status, refused.body["code"]) == (422, "prefix_taken")


async def test_a_process_of_the_release_before_goes_on_beside_the_new_rules(
    empty_database: Database, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Between `migrate` and the last restart both releases run; neither may answer 500."""
    await migrate(empty_database, FOLDER)
    partner_id = new_id()
    await admin.execute(INSERT_PARTNER, partner_id, PROGRAM, "SHOP", NOW, None)
    # One in each mode.
    assert await admin.fetchval("SELECT count(*) FROM codes.partners") == 2
    # Only `migrate` of the service itself lets its role log in.
    await admin.execute("SET ROLE mintwire_webhooks")
    try:
        await admin.fetchval(PARTNER_EXISTS, PROGRAM, partner_id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await admin.fetchval("SELECT code FROM codes.redeemable_v1")
    finally:
        await admin.execute("RESET ROLE")
