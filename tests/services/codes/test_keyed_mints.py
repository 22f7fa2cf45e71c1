"""Mints under an Idempotency-Key, many in one transaction: one code, one charge and one answer for each key."""

import asyncio
import hashlib
import json
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import pytest

from services.codes.domain.minting import Minted, MintOutcome
from services.codes.usecases.generate_code import Mints, Wanted
from shared.api_keys import Credential
from shared.database.idempotency import KeptAnswers
from shared.database.sealing import Seal
from shared.faults import TransientFault
from shared.idempotency import Answer, IdempotencyInProgress, IdempotencyKeyReused, IdempotentRequest, Once
from tests.services.codes.mints import World

KEPT = "SELECT key, status, body, is_encrypted FROM idempotency_keys ORDER BY key"
END_THE_OTHERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
MINTED = "SELECT quota_minted FROM partners WHERE id = $1"
Told = Answer | Exception


def render(outcome: MintOutcome) -> Answer:
    if isinstance(outcome, Minted):
        return Answer(200, json.dumps(outcome.code).encode())
    return Answer(403, json.dumps(outcome.reason).encode())


def once(
    key: str | None,
    credential: Credential,
    body: bytes = b"",
    render: Callable[[MintOutcome], Answer] = render,
    *,
    has_secret: bool = False,
) -> Once[MintOutcome]:
    assert credential.partner_id is not None
    request = None
    if key is not None:
        request = IdempotentRequest(credential.partner_id, "POST /generate", key, hashlib.sha256(body).digest())
    return Once(request, render, has_secret)


async def told(asks: Sequence[Awaitable[Answer]]) -> list[Told]:
    """Wait for all of them, whatever their results."""
    answers = await asyncio.gather(*asks, return_exceptions=True)
    assert not [answer for answer in answers if not isinstance(answer, Answer | Exception)]
    return [answer for answer in answers if isinstance(answer, Answer | Exception)]


def names(answers: Sequence[Told]) -> Counter[str]:
    """Count answers by what they are."""
    return Counter(
        type(answer).__name__ if isinstance(answer, Exception) else "replayed" if answer.is_replayed else "fresh"
        for answer in answers
    )


async def ask(mints: Mints, credential: Credential, key: str | None, body: bytes = b"") -> Answer:
    return await mints(Wanted(credential), once(key, credential, body))


async def test_of_twins_in_one_group_one_is_done(world: World) -> None:
    """They hold the same lock, so it is not the lock that keeps them apart."""
    [key] = await world.make_partner(quota=10)
    asks = [ask(world.replicas[0], key, name) for name in ("a", "a", "b", "a")]
    assert [names([answer]) for answer in await told(asks)] == [
        {"fresh": 1},
        {"IdempotencyInProgress": 1},
        {"fresh": 1},
        {"IdempotencyInProgress": 1},
    ]
    asks = [ask(world.replicas[0], key, name) for name in ("a", "a", "b", "c")]
    answers = await told(asks)
    assert names(answers) == {"replayed": 3, "fresh": 1}
    assert await world.admin.fetchval(MINTED, key.partner_id) == 3
    await world.check_books()


async def test_another_body_under_a_key_is_refused_beside_those_that_are_answered(world: World) -> None:
    [key] = await world.make_partner(quota=10)
    first = await ask(world.replicas[0], key, "a", b"one")
    answers = await told(
        [
            ask(world.replicas[1], key, "a", b"two"),
            ask(world.replicas[1], key, "a", b"one"),
            ask(world.replicas[1], key, "b", b"two"),
            ask(world.replicas[1], key, None),
        ]
    )
    assert isinstance(answers[0], IdempotencyKeyReused)
    assert answers[1] == Answer(200, first.body, is_replayed=True)
    assert names(answers[2:]) == {"fresh": 2}
    assert await world.admin.fetchval(MINTED, key.partner_id) == 3


async def test_what_is_refused_in_a_group_is_not_kept_and_is_judged_again(world: World) -> None:
    [poor] = await world.make_partner(quota=1)
    [rich] = await world.make_partner(quota=10)
    asks = [ask(world.replicas[0], key, name) for key in (poor, rich) for name in ("a", "b", "c")]
    answers = await told(asks)
    assert [answer.status for answer in answers if isinstance(answer, Answer)] == [200, 403, 403, 200, 200, 200]
    assert len(await world.admin.fetch(KEPT)) == 4
    await world.admin.execute("UPDATE partners SET quota_granted = 3 WHERE id = $1", poor.partner_id)
    again = await told([ask(world.replicas[1], poor, name) for name in ("a", "b", "c")])
    assert [(answer.status, answer.is_replayed) for answer in again if isinstance(answer, Answer)] == [
        (200, True),
        (200, False),
        (200, False),
    ]
    assert await world.admin.fetchval(MINTED, poor.partner_id) == 3
    await world.check_books()


async def test_one_whose_answer_cannot_be_written_leaves_nothing_and_fails_no_neighbour(world: World) -> None:
    """The answer is kept in the transaction of the mint: what has no answer must not have been charged."""
    [key] = await world.make_partner(quota=10, limit=100)

    def fail(_: MintOutcome) -> Answer:
        raise ZeroDivisionError

    asks = [ask(world.replicas[0], key, name) for name in ("a", "b", None)]
    asks.insert(1, world.replicas[0](Wanted(key), once("broken", key, render=fail)))
    answers = await told(asks)
    assert isinstance(answers[1], ZeroDivisionError)
    assert names(answers) == {"fresh": 3, "ZeroDivisionError": 1}
    assert await world.admin.fetchval(MINTED, key.partner_id) == 3
    assert [row["key"] for row in await world.admin.fetch(KEPT)] == ["a", "b"]
    await world.check_books()


async def test_keys_and_references_go_together(world: World) -> None:
    """Two keys that mean one reference get one code, each its own answer."""
    keys = await world.make_partner(quota=10, keys=2)
    asks = [
        world.replicas[n % 2](Wanted(key, f"order-{order}"), once(f"{n}-{order}", key))
        for order in range(4)
        for n, key in enumerate(keys * 2)
    ]
    answers = await told(asks)
    assert names(answers) == {"fresh": 16}
    assert len({answer.body for answer in answers if isinstance(answer, Answer)}) == 4
    assert await world.admin.fetchval(MINTED, keys[0].partner_id) == 4
    await world.check_books()


async def test_a_taken_string_costs_a_keyed_mint_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [key] = await world.make_partner(quota=200, limit=1000)
    parts = iter([f"{n % 30:08X}" for n in range(100_000)])
    monkeypatch.setattr("services.codes.usecases.generate_code.random_part", lambda *_: next(parts))
    for batch in range(2):
        answers = await told([ask(world.replicas[0], key, f"{batch}-{n}") for n in range(20)])
        assert names(answers) == {"fresh": 20}
        parts = iter([f"{n:08X}" for n in range(100_000)])
    assert await world.admin.fetchval("SELECT window_used FROM api_keys") == 40
    await world.check_books()


async def test_answers_with_secrets_are_kept_sealed_beside_others(world: World) -> None:
    [key] = await world.make_partner(quota=10)
    world.replicas[0].kept = KeptAnswers(Seal(b"k" * 32))
    asks = [world.replicas[0](Wanted(key), once(name, key, has_secret=name == "secret")) for name in ("open", "secret")]
    first = await told(asks)
    rows = {row["key"]: row for row in await world.admin.fetch(KEPT)}
    assert [rows[name]["is_encrypted"] for name in ("open", "secret")] == [False, True]
    assert isinstance(first[1], Answer)
    assert first[1].body not in rows["secret"]["body"]
    again = await world.replicas[0](Wanted(key), once("secret", key, has_secret=True))
    assert again == Answer(200, first[1].body, is_replayed=True)


async def until_answered(world: World, chance: random.Random, key: Credential, name: str) -> bytes:
    """Ask until there is an answer, as a careful partner does."""
    for _ in range(1000):
        try:
            answer = await ask(chance.choice(world.replicas), key, name)
        except (IdempotencyInProgress, TransientFault):
            await asyncio.sleep(chance.uniform(0, 0.02))
            continue
        assert answer.status == 200
        return answer.body
    raise AssertionError("no answer came")


@pytest.mark.parametrize("is_killed", [False, True], ids=["undisturbed", "connections killed"])
async def test_64_requests_of_16_keys_get_one_code_and_one_charge_each(world: World, *, is_killed: bool) -> None:
    """On two replicas at once, each repeated until it is answered: a commit whose outcome is unknown counts once."""
    [first] = await world.make_partner(quota=100)
    [second] = await world.make_partner(quota=100)

    async def kill() -> None:
        for _ in range(5 if is_killed else 0):
            await asyncio.sleep(chance.uniform(0, 0.02))
            await world.admin.execute(END_THE_OTHERS)

    chance = random.Random(17)  # noqa: S311 - when to kill is no secret
    for turn in range(5):
        wanted = [(key, f"{turn}-{n}") for key in (first, second) for n in range(8)] * 4
        chance.shuffle(wanted)
        bodies, _ = await asyncio.gather(
            asyncio.gather(*(until_answered(world, chance, key, name) for key, name in wanted)), kill()
        )
        by_key: dict[tuple[uuid.UUID | None, str], set[bytes]] = {}
        for (key, name), body in zip(wanted, bodies, strict=True):
            by_key.setdefault((key.partner_id, name), set()).add(body)
        assert [len(told) for told in by_key.values()] == [1] * 16
        assert len(set(bodies)) == 16
        minted = (turn + 1) * 8
        assert [await world.admin.fetchval(MINTED, key.partner_id) for key in (first, second)] == [minted] * 2
    assert await world.admin.fetchval("SELECT count(*) FROM promotion_codes") == 80
    if not is_killed:
        await world.check_books()
