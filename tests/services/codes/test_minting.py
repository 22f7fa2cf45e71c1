"""Minting: exactly the quota, exactly the rate, one ledger, whatever arrives at once on whichever replica."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from services.codes.domain.minting import Minted, code_link, random_part
from services.codes.usecases import generate_code as usecase
from services.codes.usecases.generate_code import Wanted
from shared.database.pool import connect
from tests.databases import Database
from tests.services.codes.mints import World, counted, mints

NOW = datetime(2026, 3, 16, 23, 29, 28, 917_345, tzinfo=UTC)


@pytest.mark.parametrize("at_once", [1, 2], ids=["alone", "in a group"])
async def test_a_mint_is_what_the_partner_is_told(world: World, at_once: int) -> None:
    world.replicas[0].clock = lambda: NOW
    [key] = await world.make_partner(quota=10, limit=100)
    outcomes = await asyncio.gather(*(world.replicas[0].outcome(Wanted(key)) for _ in range(at_once)))
    for outcome in outcomes:
        assert isinstance(outcome, Minted)
        row = await world.admin.fetchrow("SELECT * FROM promotion_codes WHERE code = $1", outcome.code)
        assert row is not None
        prefix, _, part = outcome.code.partition("-")
        assert prefix.startswith("P")
        assert len(part) == 8
        assert set(part) <= set("0123456789ABCDEF")
        assert outcome.link == f"https://cards.example/?promo={outcome.code}"
        assert outcome.expires_at == row["expires_at"] == NOW.replace(microsecond=917_000) + timedelta(hours=48)
        assert (row["redemption_limit"], row["is_auto_generated"], row["partner_id"]) == (1, True, key.partner_id)
        assert outcome.rate is not None
        assert outcome.rate.limit == 100
        assert 59 < outcome.rate.resets_in_seconds <= 60
    await world.check_books()


async def test_two_replicas_share_out_exactly_the_quota(world: World) -> None:
    [key] = await world.make_partner(quota=100)
    outcomes = await world.generate([key] * 500)
    assert counted(outcomes) == {"minted": 100, "no_codes_remaining": 400}
    assert len({o.code for o in outcomes if isinstance(o, Minted)}) == 100
    await world.check_books()


async def test_two_keys_of_a_partner_draw_on_one_quota(world: World) -> None:
    keys = await world.make_partner(quota=30, keys=2)
    assert counted(await world.generate(keys * 40)) == {"minted": 30, "no_codes_remaining": 50}
    await world.check_books()


async def test_exactly_the_limit_is_admitted_in_a_window_over_both_replicas(world: World) -> None:
    [key] = await world.make_partner(quota=1000, limit=100)
    outcomes = await world.generate([key] * 250)
    assert counted(outcomes) == {"minted": 100, "rate_limited": 150}
    used = await world.admin.fetchval("SELECT window_used FROM api_keys")
    assert used == 100
    await world.check_books()


async def test_each_key_has_a_window_of_its_own(world: World) -> None:
    keys = await world.make_partner(quota=1000, limit=10, keys=2)
    assert counted(await world.generate(keys * 15)) == {"minted": 20, "rate_limited": 10}


@pytest.mark.parametrize("at_once", [1, 5], ids=["alone", "in a group"])
async def test_a_window_that_is_over_starts_anew(world: World, at_once: int) -> None:
    [key] = await world.make_partner(quota=1000, limit=5)
    assert counted(await world.generate([key] * 6)) == {"minted": 5, "rate_limited": 1}
    await world.admin.execute("UPDATE api_keys SET window_started_at = now() - interval '61 s'")
    outcomes = await asyncio.gather(*(world.replicas[0].outcome(Wanted(key)) for _ in range(at_once)))
    assert counted(outcomes) == {"minted": at_once}
    assert await world.admin.fetchval("SELECT window_used FROM api_keys") == at_once


@pytest.mark.parametrize("at_once", [1, 5], ids=["alone", "in a group"])
async def test_a_clock_set_back_does_not_lock_a_key_out(world: World, at_once: int) -> None:
    [key] = await world.make_partner(quota=1000, limit=5)
    await world.admin.execute("UPDATE api_keys SET window_started_at = now() + interval '1 day', window_used = 5")
    outcomes = await asyncio.gather(*(world.replicas[0].outcome(Wanted(key)) for _ in range(at_once)))
    assert counted(outcomes) == {"minted": at_once}


@pytest.mark.parametrize("at_once", [1, 5], ids=["alone", "in a group"])
@pytest.mark.parametrize("status", ["pending", "suspended"])
async def test_a_partner_that_is_not_active_gets_none(world: World, status: str, at_once: int) -> None:
    [key] = await world.make_partner(quota=10, limit=100, status=status)
    outcomes = await asyncio.gather(*(world.replicas[0].outcome(Wanted(key)) for _ in range(at_once)))
    assert counted(outcomes) == {"partner_not_active": at_once}
    assert await world.admin.fetchval("SELECT window_used FROM api_keys") == at_once
    await world.check_books()


@pytest.mark.parametrize("at_once", [1, 5], ids=["alone", "in a group"])
async def test_status_and_quota_come_from_the_locked_row_not_from_the_credential(world: World, at_once: int) -> None:
    """The credential may be five seconds old."""
    [key] = await world.make_partner(quota=10)
    await world.admin.execute("UPDATE partners SET status = 'suspended'")
    outcomes = await asyncio.gather(*(world.replicas[0].outcome(Wanted(key)) for _ in range(at_once)))
    assert counted(outcomes) == {"partner_not_active": at_once}


@pytest.mark.parametrize("at_once", [1, 5], ids=["alone", "in a group"])
async def test_a_revoked_key_mints_nothing_even_while_it_is_cached(world: World, at_once: int) -> None:
    [key] = await world.make_partner(quota=10)
    await world.admin.execute("UPDATE api_keys SET revoked_at = now()")
    outcomes = await asyncio.gather(*(world.replicas[0].outcome(Wanted(key)) for _ in range(at_once)))
    assert counted(outcomes) == {"invalid_key": at_once}
    await world.check_books()


async def test_refusals_of_one_partner_do_not_touch_another(world: World) -> None:
    [poor] = await world.make_partner(quota=3)
    [suspended] = await world.make_partner(quota=99, status="suspended")
    [limited] = await world.make_partner(quota=99, limit=2)
    [rich] = await world.make_partner(quota=99)
    outcomes = await world.generate([poor, suspended, limited, rich] * 20)
    by_key = {id(key): counted(outcomes[n::4]) for n, key in enumerate((poor, suspended, limited, rich))}
    assert by_key == {
        id(poor): {"minted": 3, "no_codes_remaining": 17},
        id(suspended): {"partner_not_active": 20},
        id(limited): {"minted": 2, "rate_limited": 18},
        id(rich): {"minted": 20},
    }
    await world.check_books()


@pytest.mark.parametrize("at_once", [1, 40], ids=["alone", "in a group"])
async def test_a_taken_string_is_tried_again_and_charged_once(
    world: World, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """With 50,000 codes of eight hex digits a collision is a matter of days."""
    [key] = await world.make_partner(quota=200, limit=1000)
    parts = iter([f"{n % 30:08X}" for n in range(100_000)])
    monkeypatch.setattr(usecase, "random_part", lambda *_: next(parts))
    assert counted(await asyncio.gather(*(world.replicas[0].outcome(Wanted(key)) for _ in range(20)))) == {"minted": 20}
    parts = iter([f"{n:08X}" for n in range(100_000)])
    outcomes = await asyncio.gather(*(world.replicas[0].outcome(Wanted(key)) for _ in range(at_once)))
    assert counted(outcomes) == {"minted": at_once}
    assert await world.admin.fetchval("SELECT window_used FROM api_keys") == 20 + at_once
    await world.check_books()


@pytest.mark.parametrize("at_once", [1, 4], ids=["alone", "in a group"])
async def test_a_quota_that_runs_low_or_out_is_told_once(world: World, at_once: int) -> None:
    [key] = await world.make_partner(quota=12)
    [neighbour] = await world.make_partner(quota=50)
    await world.admin.execute("UPDATE partners SET quota_low_threshold = 6 WHERE id = $1", key.partner_id)
    for _ in range(12 // at_once):
        asks = [world.replicas[0].outcome(Wanted(key)) for _ in range(at_once)]
        assert counted(await asyncio.gather(*asks, world.replicas[0].outcome(Wanted(neighbour)))) == {
            "minted": at_once + 1
        }
    about = {"program_id": str(world.program_id), "partner_id": str(key.partner_id)}
    [low] = world.told("quota.low")
    assert low == {**about, "codes_remaining": low["codes_remaining"], "threshold": 6}
    assert low["codes_remaining"] in ({6} if at_once == 1 else range(3, 7))
    assert world.told("quota.exhausted") == [about]
    assert counted(await world.generate([key])) == {"no_codes_remaining": 1}
    await world.admin.execute("UPDATE partners SET quota_granted = quota_granted + 7 WHERE id = $1", key.partner_id)
    assert counted(await world.generate([key] * 7)) == {"minted": 7}
    assert (len(world.told("quota.low")), len(world.told("quota.exhausted"))) == (2, 2)
    await world.check_books()


async def test_without_a_threshold_a_quota_is_never_low(world: World) -> None:
    [key] = await world.make_partner(quota=2)
    await world.generate([key, key])
    assert (world.told("quota.low"), len(world.told("quota.exhausted"))) == ([], 1)


async def test_of_two_replicas_one_tells_that_the_quota_ran_out(world: World) -> None:
    [key] = await world.make_partner(quota=60)
    await world.admin.execute("UPDATE partners SET quota_low_threshold = 30")
    assert counted(await world.generate([key] * 100)) == {"minted": 60, "no_codes_remaining": 40}
    assert (len(world.told("quota.low")), len(world.told("quota.exhausted"))) == (1, 1)
    await world.check_books()


async def test_what_is_under_way_when_the_service_stops_is_answered(world: World, database: Database) -> None:
    [key] = await world.make_partner(quota=1000)
    async with connect(database.codes, "codes", 2) as pool:
        replica = mints(pool, world.handed_over)
        async with replica.running():
            asks = [asyncio.ensure_future(replica.outcome(Wanted(key))) for _ in range(50)]
            await asyncio.sleep(0)
        assert counted(await asyncio.gather(*asks)) == {"minted": 50}
    await world.check_books()


async def test_a_connection_that_was_lost_meanwhile_costs_nobody_a_code(world: World) -> None:
    """The minting loop keeps its connection; after a restart of the server the next partner must not pay for it."""
    [key] = await world.make_partner(quota=10)
    for _ in range(3):
        assert counted([await world.replicas[0].outcome(Wanted(key))]) == {"minted": 1}
        pids = await world.admin.fetchval(
            """SELECT array_agg(pid) FILTER (WHERE pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )
        assert pids
        # The server waits until they have ended, so their sockets say so by now; some turns of the loop to hear it.
        for _ in range(100):
            await asyncio.sleep(0)
    await world.check_books()


def test_a_random_part_needs_enough_bytes_and_favours_no_letter() -> None:
    assert random_part(bytes([0, 1, 2]), "AB", 4) is None
    assert random_part(bytes([255, 0, 1, 2]), "ABC", 3) == "ABC"
    spread = Counter(random_part(bytes([byte]), "0123456789", 1) for byte in range(256))
    assert {spread[digit] for digit in "0123456789"} == {25}


def test_a_random_part_that_reads_as_an_obscenity_is_made_anew() -> None:
    assert random_part(bytes([10, 5, 5, 1]), "0123456789ABCDEF", 4) is None
    assert random_part(bytes([10, 5, 6, 1]), "0123456789ABCDEF", 4) == "A561"


@pytest.mark.parametrize(
    ("link_url", "link"),
    [
        ("https://cards.example/", "https://cards.example/?promo=A-1"),
        ("https://cards.example", "https://cards.example?promo=A-1"),
        ("https://cards.example/?", "https://cards.example/?promo=A-1"),
        ("https://cards.example/?utm=x", "https://cards.example/?utm=x&promo=A-1"),
        ("https://cards.example/#top", "https://cards.example/?promo=A-1#top"),
    ],
)
def test_the_link_carries_the_code(link_url: str, link: str) -> None:
    assert code_link(link_url, "A-1") == link
