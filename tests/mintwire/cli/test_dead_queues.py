"""The broker's dead queues by the command: listed, replayed, and purged only when confirmed."""

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from mintwire.cli import dead_letters
from mintwire.cli.client import fetch_page
from shared.broker.publisher import Publisher
from shared.events.overflow import KeptLetter
from tests.mintwire.cli.conftest import Merchant, Mintwire, until
from tests.mintwire.cli.test_doctor import broken
from tests.running import RunningServices

QUEUE = "redemption.checkout"


@pytest.fixture
async def served(bare: Mintwire) -> AsyncIterator[Mintwire]:
    """Two messages that redemption cannot parse, with the keys `broken-1` and `broken-2`, and no other."""
    await bare("dead", "purge", QUEUE, "--all", "--yes")
    async with Publisher(bare.environment["MINTWIRE_AMQP_URL"], "checkout") as publisher:
        await publisher.publish_one("checkout.completed", b"no json", message_id="broken-1")
        await publisher.publish_one("checkout.completed", b'{"specversion":"9"}', message_id="broken-2")
    await until(lambda: has(bare, 2), "two dead messages")
    yield bare
    await bare("dead", "purge", QUEUE, "--all", "--yes")


@pytest.fixture(params=["service", "broker"])
async def dead(request: pytest.FixtureRequest, served: Mintwire, monkeypatch: pytest.MonkeyPatch) -> Mintwire:
    """The command with both ways to the letters: by their service, and by the broker where the service is down."""
    if request.param == "broker":
        monkeypatch.setitem(served.environment, "MINTWIRE_REDEMPTION_URL", "http://127.0.0.1:9")
    return served


async def has(mintwire: Mintwire, count: int) -> bool:
    counts = {row["queue"]: row["dead"] for row in await mintwire.json("dead", "list")}
    assert set(counts) == {QUEUE, "codes.redemptions", "webhooks.events", "unrouted"}
    return bool(counts[QUEUE] == count)


async def test_dead_messages_are_counted_listed_and_shown(dead: Mintwire) -> None:
    listed = await dead.json("dead", "list", QUEUE)
    assert {message["key"]: message["reason"] for message in listed} == {
        "broken-1": "invalid_json",
        "broken-2": "unsupported_version",
    }
    assert len(await dead.json("dead", "list", f"{QUEUE}.dead", "--reason", "invalid_json")) == 1
    shown = await dead.json("dead", "show", QUEUE, "broken-2")
    assert json.loads(shown["body"]) == {"specversion": "9"}
    assert shown["headers"]["x-mintwire-queue"] == QUEUE
    assert "invalid_json" in (await dead("dead", "list", QUEUE)).out
    assert "no json" in (await dead("dead", "show", QUEUE, "broken-1")).out


async def test_a_body_that_is_no_text_is_shown_in_base64(dead: Mintwire) -> None:
    async with Publisher(dead.environment["MINTWIRE_AMQP_URL"], "checkout") as publisher:
        await publisher.publish_one("checkout.completed", b"\xff\xfe", message_id="binary")
    await until(lambda: has(dead, 3))
    assert (await dead.json("dead", "show", QUEUE, "binary"))["body_base64"] == "//4="


async def test_what_is_replayed_unmended_dies_again(dead: Mintwire) -> None:
    """A replay before the fix must not lose the message."""
    before = {each["key"]: each["first_received_at"] for each in await dead.json("dead", "list", QUEUE)}
    assert await dead.json("dead", "replay", QUEUE, "broken-1") == {"queue": QUEUE, "replayed": 1}
    await until(lambda: has(dead, 2))
    assert await dead.json("dead", "replay", QUEUE, "--reason", "unsupported_version") == {
        "queue": QUEUE,
        "replayed": 1,
    }
    await until(lambda: has(dead, 2))
    assert await dead.json("dead", "replay", QUEUE, "--all") == {"queue": QUEUE, "replayed": 2}
    await until(lambda: has(dead, 2))
    after = {each["key"]: each["first_received_at"] for each in await dead.json("dead", "list", QUEUE)}
    assert after == before


async def test_what_is_older_than_the_service_remembers_is_replayed_by_force_only(
    served: Mintwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten event would be processed a second time: a code redeemed twice."""
    dead = served
    monkeypatch.setitem(dead.environment, "MINTWIRE_REDEMPTION_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(dead.environment, "MINTWIRE_INBOX_RETENTION_DAYS", "0")
    refused = await dead("dead", "replay", QUEUE, "--all", code=1)
    assert "0 replayed; 2 first came before" in refused.err
    assert "--force" in refused.err
    assert await has(dead, 2)
    assert (await dead.json("dead", "replay", QUEUE, "--all", "--force"))["replayed"] == 2
    await until(lambda: has(dead, 2))
    monkeypatch.setitem(dead.environment, "MINTWIRE_INBOX_RETENTION_DAYS", "a month")
    assert "a number of days" in (await dead("dead", "replay", QUEUE, "--all", code=1)).err


async def test_what_is_done_by_the_service_is_in_its_log_with_the_reason(served: Mintwire) -> None:
    await served("dead", "show", QUEUE, "broken-1", "--why", "support case 7")
    await served("dead", "purge", QUEUE, "broken-1", "--yes", "--why", "a test of the shop")
    url = f"{served.environment['MINTWIRE_REDEMPTION_URL']}/v1/operator/redemption/log"
    page = await fetch_page(url, key=served.environment["MINTWIRE_OPERATOR_TOKEN"], query={"limit": 3})
    assert [(each["action"], each["justification"]) for each in page.rows] == [
        ("letters.purged", "a test of the shop"),
        ("letters.purge_started", "a test of the shop"),
        ("letter.shown", "support case 7"),
    ]


async def test_without_the_broker_s_url_the_services_suffice(served: Mintwire, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delitem(served.environment, "MINTWIRE_AMQP_URL")
        assert len(await served.json("dead", "list", QUEUE)) == 2
        counts = {row["queue"]: row["dead"] for row in await served.json("dead", "list")}
        assert (counts[QUEUE], counts["unrouted"]) == (2, None)
        # Nobody is left to ask.
        patch.setitem(served.environment, "MINTWIRE_REDEMPTION_URL", "http://127.0.0.1:9")
        assert "cannot be reached" in (await served("dead", "list", QUEUE, code=1)).err


async def test_more_than_one_request_takes_are_replayed_and_purged(
    served: Mintwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "_PAGE", 1)
    assert len(await served.json("dead", "list", QUEUE)) == 2
    assert (await served.json("dead", "purge", QUEUE, "broken-1", "broken-2", "--yes"))["purged"] == 2
    assert await has(served, 0)


async def test_a_purge_is_meant(dead: Mintwire) -> None:
    """A purged message is lost for good."""
    refused = await dead("dead", "purge", QUEUE, "--all", code=2)
    assert "--yes" in refused.err
    assert await has(dead, 2)
    assert (await dead.json("dead", "purge", QUEUE, "broken-1", "--yes"))["purged"] == 1
    assert await has(dead, 1)


async def test_what_is_not_there_is_told(dead: Mintwire) -> None:
    assert "no dead message nothing" in (await dead("dead", "show", QUEUE, "nothing", code=1)).err
    part = await dead("dead", "replay", QUEUE, "nothing", "--json", code=1)
    assert part.json["replayed"] == 0
    assert "0 of 1 were there" in part.err


async def test_a_choice_has_to_be_made(bare: Mintwire) -> None:
    assert "give keys, --reason or --all" in (await bare("dead", "replay", QUEUE, code=2)).err
    assert "either keys or --all" in (await bare("dead", "purge", QUEUE, "a", "--all", code=2)).err
    assert "redemption.checkout" in (await bare("dead", "list", "no.queue", code=2)).err


async def test_unrouted_events_are_looked_into_too(bare: Mintwire) -> None:
    async with Publisher(bare.environment["MINTWIRE_AMQP_URL"], "checkout") as publisher:
        key = await publisher.publish_one("checkout.nobody_wants_this", b"{}")
    [message] = await bare.json("dead", "list", "unrouted")
    assert (message["key"], message["routing_key"]) == (key, "checkout.nobody_wants_this")
    assert (await bare.json("dead", "purge", "unrouted", key, "--yes"))["purged"] == 1


async def test_letters_that_have_no_room_are_counted_and_come_back(
    served: Mintwire, services: RunningServices, merchant: Merchant
) -> None:
    """They are in the service's database, where the command cannot look."""
    dead = served
    assert {row["kept"] for row in await dead.json("dead", "list")} == {0, None}
    properties = {"message_id": "kept-1", "type": None, "content_type": None, "headers": {"x-mintwire-reason": "bad"}}
    letter = KeptLetter(json.dumps(properties).encode(), b"", b"{}")
    columns = (letter.digest, letter.properties, letter.foreign_headers, letter.body)
    connection = await asyncpg.connect(services.database.redemption)
    try:
        await connection.execute(KEEP, *columns)
        kept = {row["queue"]: row["kept"] for row in await dead.json("dead", "list")}
        assert kept == {QUEUE: 1, "codes.redemptions": 0, "webhooks.events": 0, "unrouted": None}
        wrong = broken(await dead.json("doctor", code=1))
        assert wrong[f"{QUEUE}.dead has room"]["detail"].endswith(": 1")
        await connection.execute("UPDATE redemption.dead_overflow SET leased_until = '-infinity'")
    finally:
        await connection.close()
    # There is room, so the service puts it back, within half a minute.
    await until(lambda: has(dead, 3), "the letter to come back")
    shown = await dead.json("dead", "show", QUEUE, "kept-1")
    assert (shown["reason"], shown["body"]) == ("bad", "{}")


KEEP = """
INSERT INTO redemption.dead_overflow (digest, properties, foreign_headers, body, kept_at, leased_until)
VALUES ($1, $2, $3, $4, now(), 'infinity')
"""
