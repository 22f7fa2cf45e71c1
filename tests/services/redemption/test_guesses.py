"""The budget of failed guesses: shared by all replicas, kept over restarts, exact under a rush."""

import asyncio
import uuid
from datetime import timedelta

import asyncpg
import pytest

from services.redemption.app import open_database
from services.redemption.domain.guesses import BUDGET, WINDOW
from services.redemption.store.guesses import charge_guess, find_window, refund_guess
from shared.client_networks import client_network
from shared.database.pool import Database as Pool
from tests.databases import Database
from tests.services.redemption.merchant import NOW

KEY = uuid.UUID(int=7)
ADDRESS = "192.0.2.1"
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("remote", "forwarded_for", "proxies", "expected"),
    [
        ("192.0.2.1", "", 0, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", 0, "192.0.2.1"),
        ("10.0.0.1", "198.51.100.9", 1, "198.51.100.9"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.9", 1, "198.51.100.9"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.9, 10.0.0.2", 2, "198.51.100.9"),
        ("10.0.0.1", "198.51.100.9", 2, "unknown"),
        ("10.0.0.1", "", 1, "unknown"),
        ("10.0.0.1", "' OR 1=1", 1, "unknown"),
        ("2001:db8:1:2:3:4:5:6", "", 0, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "", 0, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "", 0, "192.0.2.1"),
        ("fe80::1%eth0", "", 0, "fe80::/64"),
        (None, "", 0, "unknown"),
    ],
)
def test_an_address_is_what_a_client_cannot_choose(
    remote: str | None, forwarded_for: str, proxies: int, expected: str
) -> None:
    assert client_network(remote, forwarded_for, proxies) == expected


async def test_exactly_the_budget_is_charged_whoever_asks_at_once(pool: Pool, database: Database) -> None:
    """A guess counts before its code is looked at, or a rush would be free."""
    async with open_database(database.redemption, 4) as second:

        async def guess(replica: Pool) -> bool:
            async with replica.connection() as connection:
                return await charge_guess(connection, KEY, ADDRESS, NOW) is not None

        charged = await asyncio.gather(*(guess(replica) for replica in (pool, second) for _ in range(BUDGET)))
    assert sum(charged) == BUDGET


async def test_another_address_and_another_key_have_budgets_of_their_own(pool: Pool) -> None:
    async with pool.connection() as connection:
        for _ in range(BUDGET):
            assert await charge_guess(connection, KEY, ADDRESS, NOW)
        assert await charge_guess(connection, KEY, ADDRESS, NOW) is None
        assert await find_window(connection, KEY, ADDRESS) == NOW
        assert await charge_guess(connection, KEY, "192.0.2.2", NOW)
        assert await charge_guess(connection, uuid.UUID(int=8), ADDRESS, NOW)


async def test_a_window_ends_and_a_good_guess_costs_nothing(pool: Pool) -> None:
    later = NOW + WINDOW
    async with pool.connection() as connection:
        for _ in range(BUDGET * 2):
            started = await charge_guess(connection, KEY, ADDRESS, NOW)
            assert started == NOW
            await refund_guess(connection, KEY, ADDRESS, started)
        for _ in range(BUDGET):
            assert await charge_guess(connection, KEY, ADDRESS, NOW + SECOND)
        assert await charge_guess(connection, KEY, ADDRESS, later - SECOND) is None
        assert await charge_guess(connection, KEY, ADDRESS, later) == later
        await refund_guess(connection, KEY, ADDRESS, NOW)
        for _ in range(BUDGET - 1):
            assert await charge_guess(connection, KEY, ADDRESS, later)
        assert await charge_guess(connection, KEY, ADDRESS, later) is None


async def test_rows_of_windows_that_are_over_go_away(pool: Pool, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with pool.connection() as connection:
        for number in range(25):
            await charge_guess(connection, KEY, f"192.0.2.{number}", NOW)
        for _ in range(3):
            await charge_guess(connection, KEY, ADDRESS, NOW + WINDOW)
    assert await admin.fetchval("SELECT count(*) FROM redemption.guesses") == 1
