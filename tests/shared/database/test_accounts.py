"""Whom an account acts for is found by one statement by index, in either mode, and kept for five seconds."""

import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from shared.accounts import Account
from shared.api_keys import Credential
from shared.database.accounts import FIND_PARTNER, FIND_PROGRAM, AccountReader
from shared.database.pool import Database as Pool
from shared.database.pool import connect
from shared.ids import new_id
from shared.modes import Mode, in_mode
from tests.accounts import DASHBOARD
from tests.databases import SERVICES, Database
from tests.services.redemption.merchant import Merchant

NOW = datetime(2026, 12, 1, tzinfo=UTC)
MANY_PARTNERS = """
INSERT INTO codes.partners (id, program_id, name, status, code_prefix, created_at, updated_at)
SELECT gen_random_uuid(), $1, 'Partner', 'active', 'P' || n, $2, $2 FROM generate_series(1, 2000) n
"""


@dataclass
class World:
    """A program with a partner, and a reader whose clock the test holds."""

    pool: Pool
    admin: "asyncpg.Connection[asyncpg.Record]"
    program_id: uuid.UUID
    partner_id: uuid.UUID
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.reader = AccountReader(self.pool, lambda: self.now, DASHBOARD.keys, "redemption")

    async def partner_s(
        self, mode: Mode = "live", program_id: uuid.UUID | None = None, partner_id: uuid.UUID | None = None
    ) -> Credential | Account | None:
        token = DASHBOARD.token(
            *("redemption", self.now, "partner"),
            program_id=program_id or self.program_id,
            partner_id=partner_id or self.partner_id,
            mode=mode,
        )
        return await self.reader.find(token)

    async def merchant_s(self, mode: Mode = "live", program_id: uuid.UUID | None = None) -> Credential | Account | None:
        named = program_id or self.program_id
        return await self.reader.find(DASHBOARD.token("redemption", self.now, program_id=named, mode=mode))


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    admin = await asyncpg.connect(database.admin)
    merchant = Merchant(admin)
    program_id = await merchant.program()
    partner_id = await merchant.partner(program_id, "suspended")
    async with connect(database.redemption, "redemption", 2) as pool:
        yield World(pool, admin, program_id, partner_id)
    await admin.close()


@pytest.mark.parametrize("mode", ["live", "test"])
async def test_the_tenants_are_those_of_the_mode(world: World, mode: Mode) -> None:
    found = await world.partner_s(mode)
    assert isinstance(found, Credential)
    assert found.account is not None
    tenants = (in_mode(world.program_id, test=mode == "test"), in_mode(world.partner_id, test=mode == "test"))
    assert (found.program_id, found.partner_id, found.is_test) == (*tenants, mode == "test")
    # As with a key, the caller checks the status.
    assert (found.program_name, found.partner_name, found.partner_status) == ("Shop", "Acme", "suspended")
    assert (found.key_id, found.actor) == (found.account.id, f"account {found.account.id}")
    alone = await world.merchant_s(mode)
    assert isinstance(alone, Credential)
    assert (alone.program_id, alone.partner_id) == (tenants[0], None)


async def test_who_is_missing_or_of_another_is_nobody(world: World) -> None:
    assert await world.partner_s(program_id=new_id()) is None
    assert await world.partner_s(partner_id=new_id()) is None
    assert await world.merchant_s(program_id=new_id()) is None


@pytest.mark.parametrize("mode", ["live", "test"])
async def test_who_is_archived_is_nobody_after_five_seconds(world: World, mode: Mode) -> None:
    assert await world.partner_s(mode) is not None
    archive = "UPDATE codes.partners SET archived_at = $2, updated_at = $2 WHERE id = $1"
    await world.admin.execute(archive, world.partner_id, NOW)
    world.now += timedelta(seconds=4.9)
    assert await world.partner_s(mode) is not None
    world.now += timedelta(seconds=0.2)
    assert await world.partner_s(mode) is None
    assert await world.merchant_s(mode) is not None


async def test_an_operator_s_account_needs_nobody(world: World) -> None:
    found = await world.reader.find(DASHBOARD.token("redemption", NOW, "operator"))
    assert isinstance(found, Account)
    assert found.role == "operator"


@pytest.mark.parametrize("service", SERVICES)
async def test_it_is_found_by_index(world: World, database: Database, service: str) -> None:
    await world.admin.execute(MANY_PARTNERS, world.program_id, NOW)
    await world.admin.execute("ANALYZE codes.programs, codes.partners")
    connection = await asyncpg.connect(database.role(service))
    try:
        await connection.execute("SET enable_seqscan = off")
        plans = {
            text: "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {text}", *ids))
            for text, ids in (
                (FIND_PROGRAM, (world.program_id,)),
                (FIND_PARTNER, (world.program_id, world.partner_id)),
            )
        }
    finally:
        await connection.close()
    assert all("Seq Scan" not in plan and "programs_pkey" in plan for plan in plans.values()), plans
    # By the primary key, or by the index of live partners, which begins with the program.
    assert re.search(rf"Index Cond: .*\bid = '{world.partner_id}'", plans[FIND_PARTNER]), plans
