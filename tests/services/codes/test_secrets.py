"""Sealed answers: one that cannot be opened does nothing twice and is shown; those of the first form are renewed."""

import os
import uuid
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.codes.usecases.check_secrets import CheckSecrets
from shared.database import idempotency, sealing
from shared.database.sealing import Seal, is_first_form
from shared.idempotency import identity
from tests.services.codes.conftest import SECRET_KEY, Owner, Reply, Service

OTHER_KEY = b"o" * 32
KEPT = "SELECT owner_id, route, key, body FROM idempotency_keys WHERE is_encrypted ORDER BY key"
WRITE = "UPDATE idempotency_keys SET body = $4 WHERE owner_id = $1 AND route = $2 AND key = $3"
IS_CLOSED = "SELECT EXISTS (SELECT 1 FROM closed_seal_forms WHERE form = 1)"


def process(service: Service, *keys: bytes) -> CheckSecrets:
    return CheckSecrets(service.pool, Seal(*(keys or (SECRET_KEY,))))


async def make_key(service: Service, program: Owner, idempotency_key: str) -> Reply:
    """The answer has a key in it, and is kept sealed."""
    path, body = f"/v1/programs/{program.id}/keys", {"scopes": ["checkout"]}
    return await service.send("POST", path, json=body, idempotency=idempotency_key)


async def kept(service: Service) -> list[Any]:
    async with service.pool.connection() as connection:
        return list(await connection.fetch(KEPT))


async def write(service: Service, row: Any, sealed: bytes) -> None:
    async with service.pool.connection() as connection:
        await connection.execute(WRITE, row["owner_id"], row["route"], row["key"], sealed)


async def set_back(service: Service, key: bytes = SECRET_KEY) -> None:
    """Seal the answers as a release before did."""
    for row in await kept(service):
        whose = row["owner_id"], row["route"], row["key"]
        plain = Seal(SECRET_KEY).open(row["body"], idempotency.answer_place(*whose))
        nonce = os.urandom(12)
        sealed = sealing.mark_of(key) + nonce + AESGCM(key).encrypt(nonce, plain, identity(*whose))
        await write(service, row, sealed)


async def is_closed(service: Service) -> bool:
    async with service.pool.connection() as connection:
        return bool(await connection.fetchval(IS_CLOSED))


async def count_keys(service: Service, program: Owner) -> int:
    return len((await service.send("GET", f"/v1/programs/{program.id}/keys")).data)


def unreadable() -> float | None:
    return REGISTRY.get_sample_value("mintwire_secrets_unreadable", {"secret": "answer"})


async def test_a_repeat_whose_answer_cannot_be_opened_does_nothing(service: Service, program: Owner) -> None:
    assert (await make_key(service, program, "a")).status == 201
    before = await count_keys(service, program)
    [row] = await kept(service)
    await write(service, row, row["body"][:-1] + bytes([row["body"][-1] ^ 1]))
    again = await make_key(service, program, "a")
    assert (again.status, again.body["code"], again.headers["Retry-After"]) == (503, "answer_unreadable", "60")
    assert await count_keys(service, program) == before
    check = process(service)
    with capture_logs() as logged:
        for _ in range(2):
            await check()
    assert check.state == "1 of 1 kept answers cannot be decrypted"
    assert [line["event"] for line in logged] == ["seal_form_closed", "answers_not_decrypted"]
    assert unreadable() == 1
    await write(service, row, row["body"])
    await check()
    assert (check.state, unreadable()) == ("ok", 0)
    assert (await make_key(service, program, "a")).status == 201


async def test_an_answer_that_was_moved_does_not_open(service: Service, program: Owner) -> None:
    """Otherwise an intruder in the database could have another owner's key shown."""
    other = await service.program()
    await make_key(service, program, "a")
    await make_key(service, other, "b")
    one, two = await kept(service)
    await write(service, one, two["body"])
    assert (await make_key(service, program, "a")).status == 503
    assert (await make_key(service, other, "b")).status == 201


async def test_what_the_first_form_has_sealed_is_sealed_anew(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "_SEALED_AT_ONCE", 2)
    programs = {key: await service.program() for key in "abcde"}
    made = {key: await make_key(service, owner, key) for key, owner in programs.items()}
    await set_back(service)
    await process(service)()
    assert [is_first_form(row["body"]) for row in await kept(service)] == [False] * 5
    assert await is_closed(service)
    for key, first in made.items():
        again = await make_key(service, programs[key], key)
        assert (again.status, again.raw) == (201, first.raw)


async def test_with_the_wrong_key_nothing_is_lost(service: Service, program: Owner) -> None:
    await make_key(service, program, "a")
    await set_back(service)
    wrong = process(service, OTHER_KEY)
    await wrong()
    assert (wrong.state, await is_closed(service)) == ("1 of 1 kept answers cannot be decrypted", False)
    right = process(service)
    await right()
    assert (right.state, await is_closed(service)) == ("ok", True)


async def test_after_that_the_first_form_opens_nothing(service: Service, program: Owner) -> None:
    await make_key(service, program, "a")
    check = process(service)
    await check()
    assert await is_closed(service)
    await set_back(service)
    for each in (check, process(service)):
        await each()
        assert each.state == "1 of 1 kept answers cannot be decrypted"


def test_places_of_different_requests_are_different() -> None:
    one, two = uuid.UUID(int=1), uuid.UUID(int=2)
    requests = [(one, "POST /a", "k"), (one, "POST /a", "l"), (one, "POST /b", "k"), (two, "POST /a", "k")]
    assert len({idempotency.answer_place(*each) for each in requests}) == 4
