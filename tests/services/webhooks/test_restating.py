"""Partners' bodies from before the lists of visible members: rewritten once, beside live traffic."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import asyncpg
import orjson
import pytest

from services.webhooks.store import restating
from services.webhooks.usecases.restate_bodies import RestateBodies
from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed
from tests.services.webhooks.receiver import Receiver
from tests.services.webhooks.test_partner_view import CANARY, FORMATS, event_of

TYPES = ("code.redemption_rejected", "code.redemption_voided")
MESSAGES = "SELECT id, format, body, content, lists_version FROM webhooks.messages ORDER BY id, format"
DELIVERIES = "SELECT id, message_id, format FROM webhooks.deliveries ORDER BY id"
QUEUE = "SELECT delivery_id, message_id, format FROM webhooks.delivery_queue ORDER BY delivery_id"
OLD_BODY = "UPDATE webhooks.messages SET body = $3, content = $4 WHERE id = $1 AND format = $2"


@pytest.fixture
def restate(service: Service) -> RestateBodies:
    return RestateBodies(service.pool, breath_seconds=0.0)


async def subscribe(service: Service, merchant: Merchant, url: str, **members: Any) -> None:
    for key in (merchant.partner_key, merchant.program_key):
        for format_ in FORMATS:
            await service.endpoint(key, url, event_types=["*"], format=format_, **members)


async def age(service: Service) -> list[dict[str, Any]]:
    """Turn the stored rows into what an earlier version would have stored, and return the originals."""
    before = await service.query(MESSAGES)
    by_key = {(row["id"], row["format"]): row for row in before}
    for (id_, format_), row in by_key.items():
        if format_ == "flat" and (whole := by_key.get((id_, "flat-program"))):
            await service.admin.execute(OLD_BODY, id_, format_, whole["body"], None)
        elif format_.endswith("-partner"):
            whole = by_key[id_, format_.removesuffix("-partner")]
            body = json.loads(row["body"])
            if "url" not in body["data"]:
                body["data"] = json.loads(whole["body"])["data"]
            await service.admin.execute(OLD_BODY, id_, format_, orjson.dumps(body), whole["content"])
    await service.admin.execute("DELETE FROM webhooks.messages WHERE format = 'flat-program'")
    for table in ("deliveries", "delivery_queue"):
        await service.admin.execute(
            f"UPDATE webhooks.{table} SET format = 'flat' WHERE format = 'flat-program'"  # noqa: S608 - known names
        )
    await service.admin.execute("UPDATE webhooks.messages SET lists_version = NULL")
    return before


def said(rows: Iterable[dict[str, Any]]) -> dict[tuple[Any, str], tuple[Any, Any]]:
    return {(row["id"], row["format"]): (row["body"], row["content"]) for row in rows}


async def canaries(service: Service) -> set[str]:
    """Return the forms that contain the canary."""
    rows = await service.query(MESSAGES)
    return {row["format"] for row in rows if CANARY.encode() in (row["body"] or b"") + (row["content"] or b"")}


async def test_what_was_kept_becomes_what_is_kept_today(
    service: Service, merchant: Merchant, receiver: Receiver, restate: RestateBodies
) -> None:
    """To the byte, under the same ids; programs keep theirs, in their deliveries too."""
    await subscribe(service, merchant, receiver.url, status="paused")
    await service.consume(*(event_of(type_, merchant) for type_ in TYPES), code_redeemed(merchant))
    [redeemed] = await service.query(
        "SELECT DISTINCT message_id FROM webhooks.deliveries WHERE event_type = 'code.redeemed'"
    )
    deliveries, queued = await service.query(DELIVERIES), await service.query(QUEUE)
    today, aged = await age(service), await service.query(MESSAGES)
    assert {"flat", "standard-partner", "thin-partner", "cloudevents-partner"} <= await canaries(service)
    assert await restate() == 8
    assert await canaries(service) == {"flat-program", "standard", "thin", "cloudevents"}
    of_redeemed = redeemed["message_id"]
    now = await service.query(MESSAGES)
    assert said(row for row in now if row["id"] != of_redeemed) == said(r for r in today if r["id"] != of_redeemed)
    assert [row for row in now if row["id"] == of_redeemed] == [row for row in aged if row["id"] == of_redeemed]
    for sql, before in ((DELIVERIES, deliveries), (QUEUE, queued)):
        assert [row for row in await service.query(sql) if row["message_id"] != of_redeemed] == [
            row for row in before if row["message_id"] != of_redeemed
        ]
    assert await restate() == 0
    assert await service.query(MESSAGES) == now


async def test_a_delivery_under_way_goes_on_with_what_is_kept_then(
    service: Service, merchant: Merchant, receiver: Receiver, restate: RestateBodies
) -> None:
    """Under the same id, and signed: a receiver that already has it recognises a repeat."""
    receiver.status = 500
    endpoints: dict[int, str] = {}
    for key, format_ in (
        (merchant.partner_key, "standard"),
        (merchant.partner_key, "flat"),
        (merchant.program_key, "flat"),
    ):
        made = await service.endpoint(key, f"{receiver.url}?{len(endpoints)}", event_types=["*"], format=format_)
        endpoints[len(endpoints)] = made["secret"]
    await service.endpoint(
        merchant.program_key, "https://example.com/", event_types=["*"], format="standard", status="paused"
    )
    await service.consume(event_of("code.redemption_voided", merchant))
    await service.attempted(3)
    first_ids = {post.id for post in receiver.posts}
    await age(service)
    assert await restate() == 2
    receiver.posts.clear()
    receiver.status = 204
    service.clock.advance(minutes=2)
    service.dispatcher.sending.wake()
    await service.settled(3)
    assert {post.id for post in receiver.posts} == first_ids
    for post in receiver.posts:
        number = int(post.request.query_string)
        post.verify(endpoints[number])
        assert (CANARY.encode() in post.body) == (number == 2)


async def test_partners_see_no_more_than_they_may_before_it_has_run(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await subscribe(service, merchant, receiver.url, status="paused")
    await service.consume(*(event_of(type_, merchant) for type_ in TYPES))
    await age(service)
    for message in await service.pages("/messages", merchant.partner_key):
        shown = await service.send("GET", f"/messages/{message['id']}", merchant.partner_key)
        assert shown.data["data"]["code"] is not None
        assert CANARY not in str(shown.body)


class Died(Exception):
    """Stands for the death of the process."""


@pytest.mark.parametrize("step", ["hold", "hand_to_programs", "restate"])
async def test_whoever_dies_in_between_leaves_it_to_the_next(
    service: Service,
    merchant: Merchant,
    receiver: Receiver,
    restate: RestateBodies,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    await subscribe(service, merchant, receiver.url, status="paused")
    await service.consume(*(event_of(type_, merchant) for type_ in TYPES))
    today = await age(service)
    old = [row for row in await service.query(MESSAGES) if "partner" in row["format"] or row["format"] == "flat"]
    original = getattr(restating, step)

    async def die(*arguments: Any) -> None:
        await original(*arguments)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(restating, step, die)
        with pytest.raises(Died):
            await restate()
    now = [row for row in await service.query(MESSAGES) if "partner" in row["format"] or row["format"] == "flat"]
    assert now == old
    assert await restate() == 8
    assert said(await service.query(MESSAGES)) == said(today)


async def test_processes_share_the_work_beside_live_deliveries(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each body is rewritten once, and every delivery arrives once, complete and signed."""
    monkeypatch.setattr("services.webhooks.usecases.restate_bodies._BATCH", 7)
    secrets: dict[int, Any] = {}
    for key in (merchant.partner_key, merchant.program_key):
        for format_ in ("flat", "standard"):
            url = f"{receiver.url}?{len(secrets)}"
            made = await service.endpoint(key, url, event_types=["*"], format=format_, status="paused")
            secrets[len(secrets)] = made
    events = [event_of(type_, merchant) for type_ in TYPES for _ in range(20)]
    await service.consume(*events)
    await age(service)
    for made in secrets.values():
        path = f"/endpoints/{made['id']}/enable"
        key = merchant.partner_key if made["partner_id"] else merchant.program_key
        assert (await service.send("POST", path, key)).status == 200
    tasks = [RestateBodies(service.pool, breath_seconds=0.01) for _ in range(3)]
    counts = await asyncio.gather(*(each() for each in tasks))
    # Rows held by a delivery at that moment are left for the next time.
    counts.append(await tasks[0]())
    assert sum(counts) == 80
    await service.settled(160)
    assert len(receiver.posts) == len({(post.id, post.request.query_string) for post in receiver.posts}) == 160
    for post in receiver.posts:
        post.verify(secrets[int(post.request.query_string)]["secret"])
    of_program = [post for post in receiver.posts if int(post.request.query_string) >= 2]
    assert all(CANARY.encode() in post.body for post in of_program)
    assert await canaries(service) == {"flat-program", "standard"}


async def test_what_somebody_holds_is_left_to_the_next_time(
    service: Service, merchant: Merchant, restate: RestateBodies
) -> None:
    """It never waits: waiting while holding locks could deadlock with a delivery."""
    for key in (merchant.partner_key, merchant.program_key):
        await service.endpoint(key, "https://example.com/", event_types=["*"], status="paused")
    await service.consume(*(event_of("code.redemption_voided", merchant) for _ in range(4)))
    await age(service)
    rows = await service.query(
        "SELECT d.id, d.message_id FROM webhooks.deliveries d JOIN webhooks.endpoints e ON e.id = d.endpoint_id"
        " WHERE e.partner_id IS NULL ORDER BY d.id"
    )
    async with service.admin.transaction():
        lock = "SELECT 1 FROM webhooks.{} WHERE {} = $1 FOR UPDATE"
        await service.admin.execute(lock.format("deliveries", "id"), rows[0]["id"])
        await service.admin.execute(lock.format("delivery_queue", "delivery_id"), rows[1]["id"])
        await service.admin.execute(lock.format("messages", "id"), rows[2]["message_id"])
        async with asyncio.timeout(10):
            assert await restate() == 1
    assert await restate() == 3
    assert await canaries(service) == {"flat-program"}


async def test_damaged_and_redacted_bodies_hold_nobody_up(
    service: Service, merchant: Merchant, restate: RestateBodies
) -> None:
    await service.endpoint(merchant.partner_key, "https://example.com/", event_types=["*"], status="paused")
    await service.endpoint(merchant.program_key, "https://example.com/", event_types=["*"], status="paused")
    await service.consume(*(event_of("code.redemption_voided", merchant) for _ in range(4)))
    await age(service)
    ids = [row["id"] for row in await service.query("SELECT id FROM webhooks.messages ORDER BY id")]
    await service.admin.execute(OLD_BODY, ids[0], "flat", b'{"cut', None)
    await service.admin.execute(OLD_BODY, ids[1], "flat", b"[1]", None)
    path = f"/messages/msg_{ids[2].hex}/content"
    assert (await service.send("DELETE", path, merchant.program_key)).status == 200
    assert await restate() == 4
    found = {(row["id"], row["format"]): row for row in await service.query(MESSAGES)}
    assert [found[id_, "flat"]["lists_version"] for id_ in ids] == [0, 0, 1, 1]
    assert [found[id_, "flat"]["body"] for id_ in ids[:3]] == [b'{"cut', b"[1]", None]
    assert found[ids[2], "flat-program"]["body"] is None
    assert CANARY.encode() not in found[ids[3], "flat"]["body"]
    assert await restate() == 0


async def test_older_flat_bodies_are_still_the_program_s_too(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver, restate: RestateBodies
) -> None:
    """An endpoint that the program adds later gets what it has missed, also of types that were not rewritten."""
    await service.endpoint(merchant.partner_key, receiver.url, event_types=["*"])
    await service.endpoint(merchant.program_key, receiver.url, event_types=["*"], status="paused")
    await service.consume(code_redeemed(merchant), event_of("code.redemption_voided", merchant))
    await service.settled(2)
    await age(service)
    await restate()
    late = await service.endpoint(merchant.program_key, second_receiver.url, event_types=["*"])
    message = (await service.send("GET", "/messages", merchant.program_key)).data[-1]
    chosen = {"endpoint_ids": [late["id"]]}
    sent = await service.send("POST", f"/messages/{message['id']}/resend", merchant.program_key, chosen)
    assert sent.status == 202, sent.body
    await service.settled(3)
    service.clock.advance(minutes=1)
    body = {"endpoint_id": late["id"], "which": "missing", "since": "2020-01-01T00:00:00Z"}
    assert (await service.send("POST", "/replays", merchant.program_key, body)).status == 202
    await service.settled(4)
    got = [json.loads(post.body) for post in second_receiver.posts]
    assert sorted(each["event"] for each in got) == ["code.redeemed", "code.redemption_voided"]
    assert [each["customer_id"] for each in got if each["event"] == "code.redemption_voided"] == [CANARY]
    for post in second_receiver.posts:
        post.verify(late["secret"])


async def test_looking_for_what_is_left_costs_nothing(service: Service, merchant: Merchant) -> None:
    """It runs as long as the service does, among millions of messages."""
    await service.admin.execute(
        "INSERT INTO webhooks.messages (id, format, program_id, partner_id, event_type, occurred_at, body, created_at)"
        " SELECT gen_random_uuid(), 'flat', $1, $2, 'code.redeemed', now(), '{}', now() FROM generate_series(1, 5000)",
        merchant.program_id,
        merchant.partner_id,
    )
    await service.admin.execute("ANALYZE webhooks.messages")
    admin: asyncpg.Connection[asyncpg.Record] = service.admin
    await admin.execute("SET search_path = webhooks; SET plan_cache_mode = force_generic_plan")
    await admin.execute(f"PREPARE looking (uuid, text, int) AS {restating.KEEP_FOR_PROGRAMS}")
    plan = await admin.fetch(
        "EXPLAIN EXECUTE looking ($1, $2, $3)".replace("$1", f"'{new_id()}'").replace("$2", "''").replace("$3", "100")
    )
    text = "\n".join(row[0] for row in plan)
    assert "messages_unlisted" in text
    assert "Seq Scan" not in text
