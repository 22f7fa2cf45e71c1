"""Secrets sealed in the first form are sealed again, even across crashes; then that form is no longer accepted."""

import asyncio
import os
import uuid
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from structlog.testing import capture_logs

from services.webhooks.domain.deliveries import Target
from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.headers import Auth
from services.webhooks.store import endpoints, sealed, targets
from services.webhooks.usecases.check_secrets import CheckSecrets
from shared.database import sealing
from shared.database.sealing import Seal, is_first_form
from shared.faults import TransientFault
from shared.idempotency import identity
from tests.databases import Database
from tests.services.webhooks.conftest import SECRET_KEY, Merchant, Service, code_redeemed
from tests.services.webhooks.receiver import Receiver

BEARER = {"type": "bearer", "token": "tok-1"}
OTHER_KEY = b"o" * 32


def first_form(plain: bytes, context: bytes, key: bytes = SECRET_KEY) -> bytes:
    """Seal as earlier releases did."""
    nonce = os.urandom(12)
    return sealing.mark_of(key) + nonce + AESGCM(key).encrypt(nonce, plain, context)


async def set_back(service: Service, key: bytes = SECRET_KEY) -> None:
    """Seal everything in the first form, as if an earlier release had written it."""
    seal = Seal(SECRET_KEY)
    async with service.pool.connection() as connection:
        for each in await sealed.list_page(connection, uuid.UUID(int=0), 100):
            whose = each.program_id, each.partner_id, each.id
            for made in each.keys:
                plain = seal.open(made.sealed, sealed.key_place(*whose, made.id, made.algorithm))
                await sealed.renew_key(connection, made.id, made.sealed, first_form(plain, each.id.bytes, key))
            if each.auth is not None:
                plain = seal.open(each.auth, sealed.auth_place(*whose))
                await sealed.renew_auth(connection, each.id, each.auth, first_form(plain, each.id.bytes, key))


async def left(service: Service) -> int:
    rows = await service.query(
        "SELECT sealed_secret AS sealed FROM webhooks.endpoint_keys UNION ALL"
        " SELECT sealed_auth FROM webhooks.endpoints WHERE sealed_auth IS NOT NULL UNION ALL"
        " SELECT body FROM webhooks.idempotency_keys WHERE is_encrypted"
    )
    return sum(is_first_form(row["sealed"]) for row in rows)


def process(service: Service, *keys: bytes) -> CheckSecrets:
    """A process that has just started."""
    return CheckSecrets(service.pool, service.clock, Seal(*(keys or (SECRET_KEY,))), service.handed_over.extend)


async def is_closed(service: Service) -> bool:
    return bool(await service.query("SELECT 1 FROM webhooks.closed_seal_forms WHERE form = 1"))


async def target(service: Service, endpoint: Any, seal: Seal) -> Target:
    async with service.pool.connection() as connection:
        [found] = (await targets.find(connection, seal, [uuid.UUID(endpoint["id"])])).values()
    return found


async def until_waits_for_a_lock(service: Service) -> None:
    sql = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with asyncio.timeout(20):
        while not await service.query(sql):  # noqa: ASYNC110 - there is no event to wait on
            await asyncio.sleep(0.01)


@pytest.fixture
async def made(service: Service, merchant: Merchant, receiver: Receiver) -> list[Any]:
    return [await service.endpoint(merchant.partner_key, receiver.url, signing="both", auth=BEARER) for _ in range(3)]


async def test_everything_is_sealed_anew_and_the_form_is_closed(
    service: Service, merchant: Merchant, receiver: Receiver, made: list[Any]
) -> None:
    """As long as the first form is accepted, a sealed text can be moved to another place and still be decrypted."""
    body = {"url": "https://example.com/", "event_types": ["*"], "status": "paused"}
    kept = await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency="a")
    [row] = await service.query("SELECT owner_id, route, key FROM webhooks.idempotency_keys")
    answer = first_form(b'{"kept": true}', identity(row["owner_id"], row["route"], row["key"]))
    await service.query("UPDATE webhooks.idempotency_keys SET body = $1", answer)
    await set_back(service)
    assert await left(service) == 11
    started = process(service)
    with capture_logs() as logged:
        await started()
    assert (await left(service), await is_closed(service)) == (0, True)
    assert [line["event"] for line in logged] == ["secrets_resealed", "seal_form_closed"]
    assert (started.is_ready, started.state) == (True, "ok")
    await service.consume(code_redeemed(merchant))
    await service.settled(3)
    for endpoint, post in zip(made, sorted(receiver.posts, key=lambda post: post.id), strict=True):
        assert post.headers["Authorization"] == "Bearer tok-1"
        assert (await target(service, endpoint, started.seal)).missing is None
    again = await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency="a")
    assert (kept.status, again.body) == (201, {"kept": True})


async def test_until_the_first_look_nothing_of_it_is_judged(service: Service, made: list[Any]) -> None:
    """Otherwise a process that does not know yet whether the form is closed would hold back unconverted secrets."""
    await set_back(service)
    started = process(service)
    with pytest.raises(TransientFault):
        await target(service, made[0], started.seal)
    await started()
    assert (await target(service, made[0], started.seal)).missing is None


async def test_while_a_process_of_a_release_before_runs_its_form_is_kept_and_written(
    service: Service, merchant: Merchant, database: Database, made: list[Any]
) -> None:
    """It knows no other form and would fail. Its connections have no name."""
    await set_back(service)
    started = process(service)
    service.secrets.seal.accepts_first_form = None
    before = await asyncpg.connect(database.webhooks)
    try:
        await started()
        assert (await left(service), await is_closed(service)) == (9, False)
        assert (await target(service, made[0], started.seal)).missing is None
        body = {"url": "https://example.com/", "event_types": ["*"], "auth": BEARER, "status": "paused"}
        kept = await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency="a")
        assert (kept.status, await left(service)) == (201, 12)
    finally:
        await before.close()
    await started()
    assert (await left(service), await is_closed(service)) == (0, True)
    assert (await target(service, kept.data, started.seal)).missing is None
    again = await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency="a")
    assert again.body == kept.body


async def test_what_is_written_in_the_first_form_is_committed_before_that_is_closed(
    service: Service, merchant: Merchant, database: Database, receiver: Receiver
) -> None:
    """Otherwise a secret written while the last old process ended could never be decrypted."""
    seal, started = Seal(SECRET_KEY), process(service)
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    before = await asyncpg.connect(database.webhooks)
    async with service.pool.transaction() as connection:
        owner = Owner(merchant.program_id, merchant.partner_id)
        found = await endpoints.lock(connection, owner, uuid.UUID(endpoint["id"]))
        assert found is not None
        await endpoints.set_auth(connection, found, Auth("bearer", None, "tok-3"), seal)
        await before.close()
        checking = asyncio.create_task(started())
        await until_waits_for_a_lock(service)
        assert not checking.done()
    await checking
    assert (await left(service), await is_closed(service)) == (0, True)
    opened = await target(service, endpoint, started.seal)
    assert opened.auth is not None
    assert opened.auth.secret == "tok-3"


async def test_a_process_that_dies_on_the_way_leaves_the_rest_to_the_next(
    service: Service, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_back(service)
    renew, count = sealed.renew_key, 0

    async def dying(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count > 3:
            raise asyncio.CancelledError
        await renew(*arguments)

    monkeypatch.setattr(sealed, "renew_key", dying)
    with pytest.raises(asyncio.CancelledError):
        await process(service)()
    assert 0 < await left(service) < 9
    assert not await is_closed(service)
    monkeypatch.undo()
    started = process(service)
    await started()
    assert (await left(service), await is_closed(service)) == (0, True)
    for endpoint in made:
        assert (await target(service, endpoint, started.seal)).missing is None


async def test_several_processes_at_once_do_no_harm(service: Service, made: list[Any]) -> None:
    await set_back(service)
    started = [process(service) for _ in range(4)]
    await asyncio.gather(*(each() for each in started))
    assert (await left(service), await is_closed(service)) == (0, True)
    for endpoint in made:
        assert (await target(service, endpoint, started[0].seal)).missing is None


async def test_a_secret_that_was_set_meanwhile_stays_as_it_was_set(
    service: Service, merchant: Merchant, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old secret would come back after a rotation."""
    await set_back(service)
    renew = sealed.renew_auth

    async def after_a_change(*arguments: Any) -> None:
        changes = {"auth": {"type": "bearer", "token": "tok-2"}}
        await service.send("PATCH", f"/endpoints/{arguments[1]}", merchant.partner_key, changes)
        await renew(*arguments)

    monkeypatch.setattr(sealed, "renew_auth", after_a_change)
    started = process(service)
    await started()
    for endpoint in made:
        auth = (await target(service, endpoint, started.seal)).auth
        assert auth is not None
        assert auth.secret == "tok-2"


async def test_what_no_key_opens_keeps_the_form_open_until_the_key_is_back(service: Service, made: list[Any]) -> None:
    """Nothing may be lost because of a wrong key."""
    await set_back(service, OTHER_KEY)
    wrong = process(service)
    await wrong()
    assert (wrong.is_ready, await is_closed(service), await left(service)) == (False, False, 9)
    right = process(service, SECRET_KEY, OTHER_KEY)
    await right()
    assert (right.is_ready, await is_closed(service), await left(service)) == (True, True, 0)


async def test_what_is_damaged_does_not_keep_the_form_open(service: Service, made: list[Any]) -> None:
    await set_back(service)
    await service.query(
        "UPDATE webhooks.endpoint_keys SET sealed_secret = set_byte(sealed_secret, 20, get_byte(sealed_secret, 20) # 1)"
        " WHERE endpoint_id = $1",
        uuid.UUID(made[0]["id"]),
    )
    started = process(service)
    await started()
    assert (await left(service), await is_closed(service)) == (2, True)
    assert started.state == "1 of 3 endpoints have a secret that cannot be decrypted"


class TestClosed:
    async def test_nothing_of_it_is_opened_any_more(self, service: Service, made: list[Any]) -> None:
        """From an old copy of the database, a signing secret could be moved into the place of credentials."""
        running, endpoint_id = process(service), uuid.UUID(made[0]["id"])
        await running()
        old = first_form(b"whsec", endpoint_id.bytes)
        await service.query("UPDATE webhooks.endpoints SET sealed_auth = $2 WHERE id = $1", endpoint_id, old)
        for each in (running, process(service)):
            await each()
            assert (await target(service, made[0], each.seal)).missing == "auth"

    async def test_the_service_s_role_cannot_take_it_back(self, service: Service, database: Database) -> None:
        """An attacker with the service's database password could reopen the form."""
        await process(service)()
        assert await is_closed(service)
        connection = await asyncpg.connect(database.webhooks)
        try:
            for sql in ("DELETE FROM webhooks.closed_seal_forms", "UPDATE webhooks.closed_seal_forms SET form = 9"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(sql)
        finally:
            await connection.close()

    async def test_in_a_process_it_stays_closed_whatever_becomes_of_the_table(self, service: Service) -> None:
        started = process(service)
        await started()
        await service.query("DELETE FROM webhooks.closed_seal_forms")
        await started()
        assert started.seal.accepts_first_form is False
