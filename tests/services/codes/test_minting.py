"""Minting: exactly the quota, exactly the rate, one ledger, whatever arrives at once on whichever replica."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.codes.domain.minting import Minted, MintOutcome, code_link, random_part
from services.codes.usecases import generate_code as usecase
from services.codes.usecases.generate_code import GenerateCode
from shared import api_keys
from shared.api_keys import Credential
from shared.clock import utc_now
from shared.database.pool import connect
from shared.events.catalogue import PUBLISHED
from shared.events.codes import CodesGeneratedV1
from shared.events.envelope import OutboxEvent, decode_data, decode_envelope
from shared.ids import new_id
from tests.databases import Database

NOW = datetime(2026, 3, 16, 23, 29, 28, 917_345, tzinfo=UTC)


class World:
    """One program, and replicas of the use case over the same database."""

    def __init__(self, admin: "asyncpg.Connection[asyncpg.Record]", replicas: list[GenerateCode]) -> None:
        self.admin, self.replicas = admin, replicas
        self.program_id, self.coupon_id = uuid.uuid4(), uuid.uuid4()
        self.handed_over: list[OutboxEvent] = []

    async def make_program(self, alphabet: str = "0123456789ABCDEF", length: int = 8) -> None:
        await self.admin.execute(
            """INSERT INTO programs (id, name, link_url, code_alphabet, code_length, created_at, updated_at)
               VALUES ($1, 'Cards', 'https://cards.example/', $2, $3, now(), now())""",
            self.program_id,
            alphabet,
            length,
        )
        await self.admin.execute(
            """INSERT INTO coupons (id, program_id, uuid_code, name, is_partner_coupon, discount_type,
                   percent_hundredths, duration_type, code_redemption_limit, created_at, updated_at)
               VALUES ($1, $2, 'partner', 'Partner', true, 'percent', 10000, 'once', 1, now(), now())""",
            self.coupon_id,
            self.program_id,
        )

    async def make_partner(
        self, *, quota: int, limit: int | None = None, status: str = "active", keys: int = 1
    ) -> list[Credential]:
        partner_id = uuid.uuid4()
        await self.admin.execute(
            """INSERT INTO partners (id, program_id, name, status, code_prefix, quota_granted, created_at, updated_at)
               VALUES ($1, $2, 'Acme', $3, $4, $5, now(), now())""",
            partner_id,
            self.program_id,
            status,
            "P" + partner_id.hex[:6].upper(),
            quota,
        )
        made = []
        for slot in range(1, keys + 1):
            key = api_keys.generate("secret", new_id())
            await self.admin.execute(
                """INSERT INTO api_keys (id, program_id, partner_id, kind, slot, scopes, digest, rate_limit_per_minute,
                       created_at) VALUES ($1, $2, $3, 'secret', $4, '{codes:generate}', $5, $6, now())""",
                key.key_id,
                self.program_id,
                partner_id,
                slot,
                key.digest,
                limit,
            )
            scopes = frozenset({"codes:generate"})
            made.append(
                Credential(
                    key.key_id, key.digest, "secret", scopes, limit, self.program_id, "Cards", partner_id, "Acme",
                    status, None,
                )
            )  # fmt: skip
        return made

    async def generate(self, credentials: Sequence[Credential]) -> list[MintOutcome]:
        """Ask for one code per credential, all at once, in turn on the replicas."""
        asks = [self.replicas[n % len(self.replicas)](credential) for n, credential in enumerate(credentials)]
        return list(await asyncio.gather(*asks))

    async def check_books(self) -> None:
        """Counters, ledger, codes and events tell the same story."""
        wrong = await self.admin.fetch("""
            SELECT id FROM partners p
            WHERE quota_minted <> (SELECT coalesce(sum(amount), 0) FROM quota_ledger
                                   WHERE kind = 'mint' AND partner_id = p.id)
               OR quota_minted <> (SELECT count(*) FROM promotion_codes WHERE partner_id = p.id)""")
        assert wrong == []
        listed = await self.admin.fetchval(
            "SELECT array_agg(c ORDER BY c) FROM quota_ledger l, unnest(l.code_ids) AS c WHERE l.kind = 'mint'"
        )
        stored = await self.admin.fetchval("SELECT array_agg(id ORDER BY id) FROM promotion_codes")
        assert listed == stored
        bodies = await self.admin.fetch("SELECT body FROM events WHERE type = 'codes.generated'")
        told = [decode_data(decode_envelope(row["body"]), CodesGeneratedV1) for row in bodies]
        assert sorted(code_id for event in told for code_id in event.code_ids) == (stored or [])
        assert {event.id for event in self.handed_over} == {
            row["event_id"] for row in await self.admin.fetch("SELECT event_id FROM outbox")
        }

    def told(self, type_: str) -> list[dict[str, Any]]:
        """The data of what was handed over, read strictly by its model."""
        envelopes = [decode_envelope(event.body) for event in self.handed_over if event.type == type_]
        models = {model.type: model for model in PUBLISHED["codes"]}
        return [decode_data(envelope, models[type_]).model_dump(mode="json") for envelope in envelopes]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        admin = await asyncpg.connect(database.admin, server_settings={"search_path": "codes"})
        stack.push_async_callback(admin.close)
        handed_over: list[OutboxEvent] = []
        replicas = []
        for _ in range(2):
            pool = await stack.enter_async_context(connect(database.codes, "codes", 4))
            replica = GenerateCode(pool, utc_now, handed_over.extend)
            await stack.enter_async_context(replica.running())
            replicas.append(replica)
        made = World(admin, replicas)
        made.handed_over = handed_over
        await made.make_program()
        yield made


def counted(outcomes: Sequence[MintOutcome]) -> Counter[str]:
    return Counter("minted" if isinstance(o, Minted) else o.reason for o in outcomes)


@pytest.mark.parametrize("at_once", [1, 2], ids=["alone", "in a group"])
async def test_a_mint_is_what_the_partner_is_told(world: World, at_once: int) -> None:
    world.replicas[0].clock = lambda: NOW
    [key] = await world.make_partner(quota=10, limit=100)
    outcomes = await asyncio.gather(*(world.replicas[0](key) for _ in range(at_once)))
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
    outcomes = await asyncio.gather(*(world.replicas[0](key) for _ in range(at_once)))
    assert counted(outcomes) == {"minted": at_once}
    assert await world.admin.fetchval("SELECT window_used FROM api_keys") == at_once


@pytest.mark.parametrize("at_once", [1, 5], ids=["alone", "in a group"])
async def test_a_clock_set_back_does_not_lock_a_key_out(world: World, at_once: int) -> None:
    [key] = await world.make_partner(quota=1000, limit=5)
    await world.admin.execute("UPDATE api_keys SET window_started_at = now() + interval '1 day', window_used = 5")
    outcomes = await asyncio.gather(*(world.replicas[0](key) for _ in range(at_once)))
    assert counted(outcomes) == {"minted": at_once}


@pytest.mark.parametrize("at_once", [1, 5], ids=["alone", "in a group"])
@pytest.mark.parametrize("status", ["pending", "suspended"])
async def test_a_partner_that_is_not_active_gets_none(world: World, status: str, at_once: int) -> None:
    [key] = await world.make_partner(quota=10, limit=100, status=status)
    outcomes = await asyncio.gather(*(world.replicas[0](key) for _ in range(at_once)))
    assert counted(outcomes) == {"partner_not_active": at_once}
    assert await world.admin.fetchval("SELECT window_used FROM api_keys") == at_once
    await world.check_books()


@pytest.mark.parametrize("at_once", [1, 5], ids=["alone", "in a group"])
async def test_status_and_quota_come_from_the_locked_row_not_from_the_credential(world: World, at_once: int) -> None:
    """The credential may be five seconds old."""
    [key] = await world.make_partner(quota=10)
    await world.admin.execute("UPDATE partners SET status = 'suspended'")
    outcomes = await asyncio.gather(*(world.replicas[0](key) for _ in range(at_once)))
    assert counted(outcomes) == {"partner_not_active": at_once}


@pytest.mark.parametrize("at_once", [1, 5], ids=["alone", "in a group"])
async def test_a_revoked_key_mints_nothing_even_while_it_is_cached(world: World, at_once: int) -> None:
    [key] = await world.make_partner(quota=10)
    await world.admin.execute("UPDATE api_keys SET revoked_at = now()")
    outcomes = await asyncio.gather(*(world.replicas[0](key) for _ in range(at_once)))
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
    assert counted(await asyncio.gather(*(world.replicas[0](key) for _ in range(20)))) == {"minted": 20}
    parts = iter([f"{n:08X}" for n in range(100_000)])
    outcomes = await asyncio.gather(*(world.replicas[0](key) for _ in range(at_once)))
    assert counted(outcomes) == {"minted": at_once}
    assert await world.admin.fetchval("SELECT window_used FROM api_keys") == 20 + at_once
    await world.check_books()


@pytest.mark.parametrize("at_once", [1, 4], ids=["alone", "in a group"])
async def test_a_quota_that_runs_low_or_out_is_told_once(world: World, at_once: int) -> None:
    [key] = await world.make_partner(quota=12)
    [neighbour] = await world.make_partner(quota=50)
    await world.admin.execute("UPDATE partners SET quota_low_threshold = 6 WHERE id = $1", key.partner_id)
    for _ in range(12 // at_once):
        asks = [world.replicas[0](key) for _ in range(at_once)]
        assert counted(await asyncio.gather(*asks, world.replicas[0](neighbour))) == {"minted": at_once + 1}
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
        replica = GenerateCode(pool, utc_now, world.handed_over.extend)
        async with replica.running():
            asks = [asyncio.ensure_future(replica(key)) for _ in range(50)]
            await asyncio.sleep(0)
        assert counted(await asyncio.gather(*asks)) == {"minted": 50}
    await world.check_books()


async def test_a_mint_inside_a_transaction_that_fails_leaves_nothing(world: World, database: Database) -> None:
    [key] = await world.make_partner(quota=10, limit=100)
    async with connect(database.codes, "codes", 2) as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.transaction() as connection:
                outcome, _ = await world.replicas[0].mint_within(connection, key)
                assert isinstance(outcome, Minted)
                raise ZeroDivisionError
    assert await world.admin.fetchval("SELECT quota_minted FROM partners") == 0
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
