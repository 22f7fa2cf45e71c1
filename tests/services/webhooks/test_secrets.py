"""A secret that cannot be decrypted holds back only its endpoint, visibly; one that was moved is not decrypted."""

import uuid
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.webhooks.domain.deliveries import Target
from services.webhooks.store import sealed, targets
from services.webhooks.usecases.check_secrets import CheckSecrets
from shared.database.idempotency import answer_place
from shared.database.sealing import Seal
from shared.periodic import ElementsFailed
from tests.services.webhooks.conftest import SECRET_KEY, Merchant, Service, code_redeemed
from tests.services.webhooks.receiver import Receiver
from tests.services.webhooks.test_survival import until_none_is_held

FLIP_KEY = """
UPDATE webhooks.endpoint_keys SET sealed_secret = set_byte(sealed_secret, $2, get_byte(sealed_secret, $2) # 1)
WHERE endpoint_id = $1
"""
FLIP_AUTH = """
UPDATE webhooks.endpoints SET sealed_auth = set_byte(sealed_auth, $2, get_byte(sealed_auth, $2) # 1) WHERE id = $1
"""
MOVES = {
    "a signing secret as auth": """
UPDATE webhooks.endpoints e SET sealed_auth = k.sealed_secret FROM webhooks.endpoint_keys k
WHERE e.id = $1 AND k.endpoint_id = e.id AND k.algorithm = 'hmac'
""",
    "auth as a signing secret": """
UPDATE webhooks.endpoint_keys k SET sealed_secret = e.sealed_auth FROM webhooks.endpoints e
WHERE e.id = $1 AND k.endpoint_id = e.id AND k.algorithm = 'hmac'
""",
    "one key as another": """
UPDATE webhooks.endpoint_keys k SET sealed_secret = o.sealed_secret FROM webhooks.endpoint_keys o
WHERE k.endpoint_id = $1 AND o.endpoint_id = $1 AND k.algorithm = 'hmac' AND o.algorithm = 'ed25519'
""",
    "another endpoint's auth": """
UPDATE webhooks.endpoints e SET sealed_auth = o.sealed_auth FROM webhooks.endpoints o WHERE e.id = $1 AND o.id <> e.id
""",
    "another endpoint's key": """
UPDATE webhooks.endpoint_keys k SET sealed_secret = o.sealed_secret FROM webhooks.endpoint_keys o
WHERE k.endpoint_id = $1 AND o.endpoint_id <> $1 AND k.algorithm = o.algorithm
""",
    "another algorithm": """
UPDATE webhooks.endpoint_keys SET algorithm = 'hmac', public_key = NULL
WHERE endpoint_id = $1 AND algorithm = 'ed25519'
""",
    "another id of the key": "UPDATE webhooks.endpoint_keys SET id = gen_random_uuid() WHERE endpoint_id = $1",
    "another partner": "UPDATE webhooks.endpoints SET partner_id = gen_random_uuid() WHERE id = $1",
    "its program in place of the partner": "UPDATE webhooks.endpoints SET partner_id = NULL WHERE id = $1",
    "another program": "UPDATE webhooks.endpoints SET program_id = gen_random_uuid() WHERE id = $1",
}
BEARER = {"type": "bearer", "token": "tok-1"}
NEW_KEY = b"n" * 32


def checker(service: Service, seal: Seal) -> CheckSecrets:
    """Check as another process would, with its own keys."""
    return CheckSecrets(service.pool, service.clock, seal, service.handed_over.extend)


async def target(service: Service, endpoint: Any, seal: Seal) -> Target:
    async with service.pool.connection() as connection:
        [found] = (await targets.find(connection, seal, [uuid.UUID(endpoint["id"])])).values()
    return found


async def health(service: Service, merchant: Merchant, endpoint: Any) -> tuple[str | None, str | None]:
    shown = (await service.send("GET", f"/endpoints/{endpoint['id']}/health", merchant.partner_key)).data
    return shown["held_back_by"], shown["unreadable_secret"]


async def flip(service: Service, endpoint: Any, sql: str = FLIP_KEY, byte: int = 30) -> None:
    await service.query(sql, uuid.UUID(endpoint["id"]), byte)


def unreadable(kind: str) -> float | None:
    return REGISTRY.get_sample_value("mintwire_secrets_unreadable", {"secret": kind})


class TestOneThatCannotBeOpened:
    @pytest.mark.parametrize("byte", [0, 5, 10, 30], ids=["form", "mark", "nonce", "text"])
    async def test_it_holds_back_its_endpoint_alone_until_the_owner_rotates(
        self, service: Service, merchant: Merchant, receiver: Receiver, byte: int
    ) -> None:
        """One damaged row would stop the webhooks of all tenants."""
        bad = await service.endpoint(merchant.partner_key, receiver.url)
        good = await service.endpoint(merchant.partner_key, receiver.url)
        watching = await service.endpoint(merchant.partner_key, receiver.url, event_types=["webhook.*"])
        await flip(service, bad, byte=byte)
        await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(3)))
        await service.settled(3)
        for post in receiver.posts:
            post.verify(good["secret"])

        with capture_logs() as logged:
            await service.secrets()
        assert await health(service, merchant, bad) == ("secret_unreadable", "signing_key")
        assert await health(service, merchant, good) == (None, None)
        assert service.secrets.is_ready
        assert service.secrets.state == "1 of 3 endpoints have a secret that cannot be decrypted"
        assert unreadable("signing_key") == 1
        lines = [line for line in logged if line["event"] == "secret_not_decrypted"]
        assert [(line["endpoint_id"], line["kind"]) for line in lines] == [(bad["id"], "signing_key")]
        [told] = service.events("webhook.secret_unreadable")
        assert (told["endpoint_id"], told["secret"]) == (bad["id"], "signing_key")
        await service.secrets()
        assert len(service.events("webhook.secret_unreadable")) == 1
        assert watching["status"] == "active"

        await until_none_is_held(service)
        rotated = await service.send("POST", f"/endpoints/{bad['id']}/keys/rotate", merchant.partner_key, {})
        assert rotated.status == 201
        await service.settled(6)
        for post in receiver.posts[3:]:
            post.verify(rotated.data["secret"])
        await service.secrets()
        assert (service.secrets.state, unreadable("signing_key")) == ("ok", 0)
        assert await health(service, merchant, bad) == (None, None)
        assert [each["endpoint_id"] for each in service.events("webhook.secret_readable")] == [bad["id"]]

    async def test_what_authenticates_us_is_set_again_and_everything_goes_out(
        self, service: Service, merchant: Merchant, receiver: Receiver
    ) -> None:
        bad = await service.endpoint(merchant.partner_key, receiver.url, auth=BEARER)
        await flip(service, bad, FLIP_AUTH)
        await service.consume(code_redeemed(merchant))
        await until_none_is_held(service)
        await service.stays_idle()
        await service.secrets()
        assert await health(service, merchant, bad) == ("secret_unreadable", "auth")
        assert (unreadable("auth"), unreadable("signing_key")) == (1, 0)
        changes = {"auth": {"type": "bearer", "token": "tok-2"}}
        assert (await service.send("PATCH", f"/endpoints/{bad['id']}", merchant.partner_key, changes)).status == 200
        await service.settled(1)
        assert [post.headers["Authorization"] for post in receiver.posts] == ["Bearer tok-2"]

    async def test_what_was_taken_away_whole_holds_back_too(
        self, service: Service, merchant: Merchant, receiver: Receiver
    ) -> None:
        """A receiver must not get unsigned or unauthenticated requests because a row is damaged."""
        for sql in (
            "DELETE FROM webhooks.endpoint_keys WHERE endpoint_id = $1",
            "UPDATE webhooks.endpoints SET sealed_auth = NULL WHERE id = $1",
        ):
            endpoint = await service.endpoint(merchant.partner_key, receiver.url, auth=BEARER)
            await service.query(sql, uuid.UUID(endpoint["id"]))
        await service.consume(code_redeemed(merchant))
        await until_none_is_held(service)
        await service.stays_idle()
        assert receiver.posts == []
        await service.secrets()
        assert service.secrets.state == "2 of 2 endpoints have a secret that cannot be decrypted"

    async def test_mended_in_place_it_goes_out_by_itself(
        self, service: Service, merchant: Merchant, receiver: Receiver
    ) -> None:
        bad = await service.endpoint(merchant.partner_key, receiver.url)
        await flip(service, bad)
        await service.consume(code_redeemed(merchant))
        await until_none_is_held(service)
        await service.stays_idle()
        await flip(service, bad)
        await service.settled(1)
        receiver.posts[0].verify(bad["secret"])

    async def test_an_older_key_that_cannot_be_opened_is_left_out(
        self, service: Service, merchant: Merchant, receiver: Receiver
    ) -> None:
        """Otherwise a rotation would help only after its grace period."""
        endpoint = await service.endpoint(merchant.partner_key, receiver.url)
        await flip(service, endpoint)
        rotated = await service.send(
            "POST", f"/endpoints/{endpoint['id']}/keys/rotate", merchant.partner_key, {"grace_period_seconds": 86_400}
        )
        await service.consume(code_redeemed(merchant))
        await service.settled(1)
        receiver.posts[0].verify(rotated.data["secret"])
        assert len(receiver.posts[0].headers["webhook-signature"].split(" ")) == 1

    async def test_it_is_no_backlog_and_is_counted_as_a_pause(
        self, service: Service, merchant: Merchant, receiver: Receiver
    ) -> None:
        bad = await service.endpoint(merchant.partner_key, receiver.url)
        await flip(service, bad)
        await service.secrets()
        await service.consume(code_redeemed(merchant))
        await until_none_is_held(service)
        service.clock.advance(minutes=5)
        backlog = await service.queue.measure()
        assert (backlog.due, backlog.age.total_seconds()) == (0, 0)

    async def test_by_hand_it_is_refused_with_the_reason(
        self, service: Service, merchant: Merchant, receiver: Receiver
    ) -> None:
        """The owner would see a failing receiver and look for the fault there."""
        bad = await service.endpoint(merchant.partner_key, receiver.url)
        await service.consume(code_redeemed(merchant))
        await service.settled(1)
        [delivery] = (await service.send("GET", "/deliveries", merchant.partner_key)).data
        await flip(service, bad)
        for path in (f"/endpoints/{bad['id']}/test", f"/deliveries/{delivery['id']}/retry"):
            refused = await service.send("POST", path, merchant.partner_key)
            assert (refused.status, refused.body["code"]) == (409, "secret_unreadable"), path
        assert len(receiver.posts) == 1

    async def test_a_listener_is_told_and_gets_another_secret_when_it_is_opened_again(
        self, service: Service, merchant: Merchant
    ) -> None:
        opened = (await service.send("POST", "/listeners", merchant.partner_key, {"name": "laptop"})).data
        await service.consume(code_redeemed(merchant))
        await flip(service, opened)
        path, body = f"/listeners/{opened['id']}/next", {"wait_seconds": 0}
        refused = await service.send("POST", path, merchant.partner_key, body)
        assert (refused.status, refused.body["code"]) == (409, "secret_unreadable")
        again = (await service.send("POST", "/listeners", merchant.partner_key, {"name": "laptop"})).data
        assert (again["is_resumed"], again["secret"] != opened["secret"]) == (True, True)
        [handed] = (await service.send("POST", path, merchant.partner_key, body)).data
        assert handed["is_repeated"] is False
        await service.secrets()
        assert not service.events("webhook.secret_unreadable")


class TestMoved:
    async def test_a_secret_opens_nowhere_but_in_its_place(
        self, service: Service, merchant: Merchant, receiver: Receiver
    ) -> None:
        """A signing secret moved into the column of credentials was once sent in clear, as a bearer token."""
        for _ in range(2):
            one = await service.endpoint(merchant.partner_key, receiver.url, signing="both", auth=BEARER)
        seal = Seal(SECRET_KEY)
        await service.query("SET search_path TO webhooks")
        for what, sql in MOVES.items():
            transaction = service.admin.transaction()
            await transaction.start()
            await service.query(sql, uuid.UUID(one["id"]))
            [found] = (await targets.find(service.admin, seal, [uuid.UUID(one["id"])])).values()
            assert found.missing is not None, what
            await transaction.rollback()

    async def test_an_answer_opens_for_its_own_request_only(self, service: Service, merchant: Merchant) -> None:
        """A kept answer with a secret, moved to another key in the table, would be handed to its owner."""
        body = {"url": "https://example.com/", "event_types": ["*"]}
        made = [
            await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency=key) for key in ("a", "b")
        ]
        assert [each.status for each in made] == [201, 201]
        await service.query(
            "UPDATE webhooks.idempotency_keys SET body = (SELECT body FROM webhooks.idempotency_keys WHERE key = 'b')"
            " WHERE key = 'a'"
        )
        again = await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency="a")
        assert (again.status, again.body["code"], again.headers["Retry-After"]) == (503, "answer_unreadable", "60")
        assert len((await service.send("GET", "/endpoints", merchant.partner_key)).data) == 2
        await service.secrets()
        assert service.secrets.state == "1 of 2 kept answers cannot be decrypted"
        assert unreadable("answer") == 1


class TestKeys:
    async def test_sealing_keys_are_changed_one_after_the_other(self, service: Service, merchant: Merchant) -> None:
        """First both keys, then everything sealed again, then without the old key: nothing is lost."""
        endpoint = await service.endpoint(
            merchant.partner_key, "https://example.com/", signing="both", auth=BEARER, status="paused"
        )
        body = {"url": "https://example.com/", "event_types": ["*"]}
        first = await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency="a")
        ring = Seal(NEW_KEY, SECRET_KEY)
        before = await target(service, endpoint, ring)
        with capture_logs() as logged:
            for _ in range(2):
                await checker(service, ring)()
        assert [line["count"] for line in logged if line["event"] == "secrets_resealed"] == [5]
        after = await target(service, endpoint, Seal(NEW_KEY))
        assert (after.keys, after.auth, after.missing) == (before.keys, before.auth, None)
        old = await target(service, endpoint, Seal(SECRET_KEY))
        assert (old.keys, old.auth, old.missing) == ((), None, "signing_key")
        [row] = await service.query("SELECT owner_id, route, key, body FROM webhooks.idempotency_keys")
        at = answer_place(row["owner_id"], row["route"], row["key"])
        assert first.data["secret"].encode() in Seal(NEW_KEY).open(row["body"], at)

    async def test_a_process_with_the_wrong_key_is_not_ready_and_blames_no_endpoint(
        self, service: Service, merchant: Merchant, receiver: Receiver
    ) -> None:
        """A wrong setting in one replica would notify every owner of a broken secret."""
        for _ in range(3):
            await service.endpoint(merchant.partner_key, receiver.url)
        wrong = checker(service, Seal(NEW_KEY))
        assert not wrong.is_ready
        with capture_logs() as logged:
            await wrong()
            await wrong()
        mismatched = [line["variable"] for line in logged if line["event"] == "secret_key_mismatched"]
        assert mismatched == ["WEBHOOKS_SECRET_KEY"]
        assert not wrong.is_ready
        assert wrong.state == "3 of 3 endpoints have a secret that cannot be decrypted"
        assert not service.events("webhook.secret_unreadable")
        await service.secrets()
        assert (service.secrets.is_ready, service.secrets.state) == (True, "ok")

    async def test_where_nothing_is_sealed_every_key_is_right(self, service: Service) -> None:
        await service.secrets()
        assert (service.secrets.is_ready, service.secrets.state) == (True, "ok")

    async def test_one_damaged_secret_alone_does_not_make_the_key_wrong(
        self, service: Service, merchant: Merchant, receiver: Receiver
    ) -> None:
        """Otherwise its owner could not reach the service to rotate it."""
        await flip(service, await service.endpoint(merchant.partner_key, receiver.url))
        await service.secrets()
        assert service.secrets.is_ready
        assert len(service.events("webhook.secret_unreadable")) == 1

    async def test_processes_that_disagree_tell_the_owner_once_an_hour(
        self, service: Service, merchant: Merchant, receiver: Receiver
    ) -> None:
        """A process started without the newest key cannot decrypt what the others can."""
        first = await service.endpoint(merchant.partner_key, receiver.url)
        both, old = checker(service, Seal(NEW_KEY, SECRET_KEY)), service.secrets
        told = []
        for minutes in (10, 10, 61, 10):
            await both()
            # A secret that the old process can decrypt: otherwise it would know that the fault is its own.
            await service.endpoint(merchant.partner_key, receiver.url)
            await old()
            told.append(
                [each["endpoint_id"] for each in service.events("webhook.secret_unreadable")].count(first["id"])
            )
            service.clock.advance(minutes=minutes)
        assert told == [1, 1, 1, 2]

    async def test_what_is_changed_while_it_is_looked_at_is_not_told_of(
        self, service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An owner who has just rotated would be notified of the secret that is gone."""
        bad = await service.endpoint(merchant.partner_key, receiver.url)
        await flip(service, bad)
        mark = sealed.mark_unreadable

        async def rotated_before(*arguments: Any) -> Any:
            await service.send("POST", f"/endpoints/{bad['id']}/keys/rotate", merchant.partner_key, {})
            return await mark(*arguments)

        monkeypatch.setattr(sealed, "mark_unreadable", rotated_before)
        await service.secrets()
        assert not service.events("webhook.secret_unreadable")
        await service.secrets()
        assert service.secrets.state == "ok"

    async def test_one_that_cannot_be_looked_at_keeps_no_other_from_it(
        self, service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = [await service.endpoint(merchant.partner_key, receiver.url) for _ in range(3)]
        await flip(service, made[2])
        place = sealed.key_place

        def broken(program_id: uuid.UUID, partner_id: uuid.UUID, endpoint_id: uuid.UUID, *others: Any) -> Any:
            if str(endpoint_id) == made[0]["id"]:
                raise ValueError("a damaged row")
            return place(program_id, partner_id, endpoint_id, *others)

        monkeypatch.setattr(sealed, "key_place", broken)
        with pytest.raises(ElementsFailed):
            await service.secrets()
        assert [each["endpoint_id"] for each in service.events("webhook.secret_unreadable")] == [made[2]["id"]]
