"""The operators' API with the broker: letters are seen without harm, replayed once, purged within bounds, logged."""

import asyncio
import base64
import re
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.redemption.api.routes import ROUTES
from services.redemption.consumers import CheckoutConsumer
from services.redemption.usecases.take_in_checkouts import TakeInCheckouts
from shared.broker.consumer import BatchConsumer
from shared.broker.operator import own_queues
from shared.broker.operator.dead_queue import DeadQueue
from shared.database.pool import Database as Pool
from shared.times import format_microseconds
from shared.web import Route
from tests.accounts import DASHBOARD
from tests.operating import refused_to_others
from tests.services.redemption.conftest import DIGESTS, Decider, Reply, Shop, open_shop
from tests.services.redemption.merchant import NOW, Merchant, checkout
from tests.shared.broker.tools import Broker, client, running, until

pytestmark = pytest.mark.timeout(90)
QUEUE = "redemption.checkout"
DEAD = "redemption.checkout.dead"
ROOT = "/v1/operator/redemption"
LETTERS = f"{ROOT}/dead-letters/{QUEUE}"
TOKEN = "operator-token-for-tests"
HIS = {
    "x-mintwire-reason": "handler_error",
    "x-mintwire-queue": QUEUE,
    "x-mintwire-first-received-at": "2026-03-18T11:00:00.000000Z",
}


@pytest.fixture
async def broker(clean_broker: dict[str, str]) -> AsyncIterator[Broker]:
    async with client(clean_broker["operator"]) as made:
        yield made


@pytest.fixture
async def shop(pool: Pool, merchant: Merchant, decider: Decider, clean_broker: dict[str, str]) -> AsyncIterator[Shop]:
    """The service with the rights of its own broker user, and no more."""
    program = await merchant.program()
    key = await merchant.key(program, "manage", "checkout", "webhooks")
    url = clean_broker["redemption"]
    async with open_shop(pool, program, key, decider, operator_token=TOKEN, amqp_url=url) as opened:
        yield opened


async def operate(shop: Shop, method: str, path: str, body: Any = None, key: str = TOKEN) -> Reply:
    return await shop.send(method, path, body, key=key)


async def put_dead(broker: Broker, *letters: tuple[str, bytes], **headers: str) -> None:
    """Put letters into the dead queue, by the way of its consumer."""
    before = await broker.count(DEAD)
    for message_id, body in letters:
        given = {**HIS, **headers}
        await broker.put(body, QUEUE, exchange=f"dead.{QUEUE}", message_id=message_id, headers=given)
    await broker.holds(DEAD, before + len(letters))


async def log(shop: Shop) -> list[tuple[str, str, str | None, dict[str, Any]]]:
    """Return the entries, oldest first."""
    found = (await operate(shop, "GET", f"{ROOT}/log")).data
    return [(each["actor"], each["action"], each["justification"], each["details"]) for each in reversed(found)]


async def test_looking_changes_nothing_and_shows_no_content(shop: Shop, broker: Broker) -> None:
    await put_dead(broker, ("a", b"one"), ("b", b"two"))
    await put_dead(broker, ("c", b"three"), **{"x-mintwire-reason": "invalid_json"})
    for _ in range(3):
        listed = (await operate(shop, "GET", LETTERS)).data
        assert [each["key"] for each in listed] == ["a", "b", "c"]
        await broker.holds(DEAD, 3)
    assert (listed[0]["reason"], listed[0]["bytes"]) == ("handler_error", 3)
    assert listed[0]["first_received_at"] == "2026-03-18T11:00:00.000000Z"
    assert not {"headers", "body", "body_base64"} & listed[0].keys()
    by_reason = await operate(shop, "GET", f"{LETTERS}?reason=invalid_json")
    assert [each["key"] for each in by_reason.data] == ["c"]
    assert await log(shop) == []


async def test_pages_go_through_the_queue_and_no_further_than_the_bound(
    shop: Shop, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_queues, "MOST_LOOKED_AT", 5)
    await put_dead(broker, *((f"id-{n}", b"%d" % n) for n in range(7)))
    keys, cursor = [], ""
    for _ in range(3):
        page = await operate(shop, "GET", f"{LETTERS}?limit=2{cursor}")
        keys.append([each["key"] for each in page.data])
        cursor = f"&cursor={page.body['meta']['next_cursor']}"
    assert keys == [["id-0", "id-1"], ["id-2", "id-3"], ["id-4"]]
    assert page.body["meta"]["next_cursor"] is None
    beyond = await operate(shop, "POST", f"{LETTERS}/show", {"key": "id-6", "justification": "support case 7"})
    assert (beyond.status, beyond.body["code"]) == (404, "not_found")
    # What lies in front is removed, so what lies behind comes nearer.
    first = await operate(shop, "POST", f"{LETTERS}/purge", {"all": True})
    assert first.data == {"queue": QUEUE, "purged": 5, "is_whole": False}
    second = await operate(shop, "POST", f"{LETTERS}/purge", {"all": True})
    assert second.data == {"queue": QUEUE, "purged": 2, "is_whole": True}


async def test_the_content_is_shown_for_a_reason_that_the_log_keeps(shop: Shop, broker: Broker) -> None:
    await put_dead(broker, ("a", b"\xff\xfe"))
    nameless = await operate(shop, "POST", f"{LETTERS}/show", {"key": "a"})
    assert (nameless.status, list(nameless.body["errors"])) == (422, ["justification"])
    assert await log(shop) == []
    account_id = uuid.uuid4()
    asks = DASHBOARD.token("redemption", shop.decider.now, "operator", account_id=account_id)
    shown = await operate(shop, "POST", f"{LETTERS}/show", {"key": "a", "justification": "support case 7"}, asks)
    assert base64.b64decode(shown.data["body_base64"]) == b"\xff\xfe"
    assert shown.data["headers"]["x-mintwire-reason"] == "handler_error"
    await broker.holds(DEAD, 1)
    assert await log(shop) == [(f"account {account_id}", "letter.shown", "support case 7", {"key": "a"})]


async def test_a_replayed_letter_is_processed_once_though_the_process_died_with_it_in_hand(
    shop: Shop,
    broker: Broker,
    merchant: Merchant,
    clean_broker: dict[str, str],
    admin: "asyncpg.Connection[asyncpg.Record]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The copy is confirmed before the letter is removed: in between it is in both places, and the inbox knows it."""
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "PLAIN")
    await put_dead(broker, ("a", checkout(shop.program_id, "PLAIN", event="event-1")))
    with monkeypatch.context() as patch:
        patch.setattr(DeadQueue, "remove", _dies)
        died = await operate(shop, "POST", f"{LETTERS}/replay", {"keys": ["a"]})
        assert died.status == 500
    await broker.holds(DEAD, 1)
    await broker.holds(QUEUE, 1)
    again = await operate(shop, "POST", f"{LETTERS}/replay", {"keys": ["a"], "justification": "fixed in 1.2"})
    known_since = format_microseconds(NOW - timedelta(days=36))
    done = {"replayed": 1, "unconfirmed": 0, "too_old": 0, "is_whole": True}
    assert again.data == {"queue": QUEUE, **done, "known_since": known_since}
    await broker.holds(DEAD, 0)
    await broker.holds(QUEUE, 2)
    decider = shop.decider
    handler = CheckoutConsumer(TakeInCheckouts(decider.pool, lambda: NOW, decider.handed_over.extend, DIGESTS))
    async with running(BatchConsumer(clean_broker["redemption"], QUEUE, handler, lambda: NOW)):
        await broker.holds(QUEUE, 0)
        await until(lambda: len(shop.announced()) >= 1)
    assert await admin.fetchval("SELECT count(*) FROM redemption.redemptions") == 1
    assert [each["event"] for each in shop.announced()].count("code.redeemed") == 1
    await broker.holds(DEAD, 0)
    asked = {"keys": ["a"], "reason": None, "limit": 1000, "force": False}
    assert await log(shop) == [
        ("operator", "letters.replay_started", None, asked),
        ("operator", "letters.replay_started", "fixed in 1.2", asked),
        ("operator", "letters.replayed", "fixed in 1.2", done),
    ]


async def _dies(_: DeadQueue, __: int) -> None:
    raise RuntimeError("the process dies here")


async def test_what_the_service_has_forgotten_stays_unless_it_is_forced(shop: Shop, broker: Broker) -> None:
    old = (shop.decider.now - timedelta(days=37)).isoformat().replace("+00:00", ".000000Z")
    await put_dead(broker, ("old", b"{}"), **{"x-mintwire-first-received-at": old})
    await put_dead(broker, ("new", b"{}"))
    done = await operate(shop, "POST", f"{LETTERS}/replay", {"all": True})
    assert (done.data["replayed"], done.data["too_old"]) == (1, 1)
    await broker.holds(DEAD, 1)
    forced = await operate(shop, "POST", f"{LETTERS}/replay", {"all": True, "force": True})
    assert (forced.data["replayed"], forced.data["too_old"]) == (1, 0)
    await broker.holds(QUEUE, 2)


async def test_a_purge_removes_what_is_chosen_up_to_its_limit(shop: Shop, broker: Broker) -> None:
    await put_dead(broker, *((f"id-{n}", b"%d" % n) for n in range(4)))
    await put_dead(broker, ("c", b"three"), **{"x-mintwire-reason": "invalid_json"})
    bodies: tuple[dict[str, Any], ...] = (
        {},
        {"keys": ["id-1"], "all": True},
        {"keys": []},
        {"all": True, "limit": 1001},
    )
    for body in bodies:
        assert (await operate(shop, "POST", f"{LETTERS}/purge", body)).status == 422
    await broker.holds(DEAD, 5)
    some = await operate(shop, "POST", f"{LETTERS}/purge", {"reason": "handler_error", "limit": 2})
    assert some.data == {"queue": QUEUE, "purged": 2, "is_whole": False}
    rest = await operate(shop, "POST", f"{LETTERS}/purge", {"reason": "handler_error"})
    assert rest.data == {"queue": QUEUE, "purged": 2, "is_whole": True}
    assert [each["key"] for each in (await operate(shop, "GET", LETTERS)).data] == ["c"]
    assert [action for _, action, _, _ in await log(shop)] == ["letters.purge_started", "letters.purged"] * 2


async def test_nothing_is_done_that_cannot_be_written_down(
    shop: Shop, broker: Broker, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await put_dead(broker, ("a", b"one"))
    await admin.execute("REVOKE INSERT ON redemption.operator_log FROM mintwire_redemption")
    for act in ("purge", "replay"):
        assert (await operate(shop, "POST", f"{LETTERS}/{act}", {"all": True})).status >= 500
    await broker.holds(DEAD, 1)
    await broker.holds(QUEUE, 0)


async def test_who_looks_at_once_waits_and_sees_everything(shop: Shop, broker: Broker) -> None:
    await put_dead(broker, *((f"id-{n}", b"%d" % n) for n in range(60)))
    pages = await asyncio.gather(*(operate(shop, "GET", f"{LETTERS}?limit=100") for _ in range(4)))
    for page in pages:
        assert [each["key"] for each in page.data] == [f"id-{n}" for n in range(60)]


async def test_queues_are_counted(shop: Shop, broker: Broker) -> None:
    await put_dead(broker, ("a", b"one"))
    await broker.put(b"two")
    await broker.holds(QUEUE, 1)
    assert (await operate(shop, "GET", f"{ROOT}/queues")).data["queues"] == [
        {"name": QUEUE, "messages": 1, "consumers": 0},
        {"name": DEAD, "messages": 1, "consumers": 0},
    ]


async def test_another_services_queue_is_missing(shop: Shop, broker: Broker) -> None:
    for queue in ("codes.redemptions", "unrouted", "redemption.checkout.dead", "nothing"):
        path = f"{ROOT}/dead-letters/{queue}"
        found = await operate(shop, "GET", path)
        assert (found.status, found.body["code"]) == (404, "not_found"), queue
        for act, body in (
            ("replay", {"all": True}),
            ("purge", {"all": True}),
            ("show", {"key": "a", "justification": "why"}),
        ):
            assert (await operate(shop, "POST", f"{path}/{act}", body)).status == 404
    assert await log(shop) == []


async def test_who_is_let_in(shop: Shop, broker: Broker, merchant: Merchant) -> None:
    async def ask(route: Route, key: str | None) -> tuple[int, str]:
        path = re.sub(r"\{\w+\}", "unknown", route.path)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with shop.http.request(route.method, path, headers=headers) as response:
            return response.status, (await response.json()).get("code", "")

    foreign = DASHBOARD.token("codes", shop.decider.now, "operator")
    refused = {shop.key: "operator_only", "nobody": "invalid_api_key", foreign: "invalid_api_key"}
    await refused_to_others(ROUTES, ask, refused)
    # Who may only look sees the list, and no more.
    await put_dead(broker, ("a", b"one"))
    looks = DASHBOARD.token("redemption", shop.decider.now, "operator", "look")
    assert (await operate(shop, "GET", LETTERS, key=looks)).status == 200
    for act in ("show", "replay", "purge"):
        refusal = await operate(shop, "POST", f"{LETTERS}/{act}", {"key": "a", "justification": "why"}, looks)
        assert (refusal.status, refusal.body["code"]) == (403, "look_only")
    await broker.holds(DEAD, 1)


async def test_without_the_broker_it_says_so(pool: Pool, merchant: Merchant, decider: Decider) -> None:
    program = await merchant.program()
    async with open_shop(pool, program, "", decider, operator_token=TOKEN) as shop:
        for path in (f"{ROOT}/queues", LETTERS):
            refusal = await operate(shop, "GET", path)
            assert (refusal.status, refusal.body["code"]) == (503, "temporarily_unavailable")
