"""The number of a message: the same in header and body, or in neither, whichever way it is sent."""

import json
import random
from collections.abc import Iterable

import pytest

from services.webhooks.dispatcher.holdings import MOST_BYTES
from services.webhooks.domain.bodies import numbered
from services.webhooks.domain.deliveries import LEASE_SECONDS
from tests.databases import Database
from tests.services.webhooks.conftest import HeldClock, Merchant, Service, code_redeemed, running_service, until
from tests.services.webhooks.receiver import Post, Receiver
from tests.services.webhooks.test_messages_again import resend
from tests.services.webhooks.test_replays import begin, ended

every_format = pytest.mark.parametrize("format_", ["standard", "thin", "cloudevents"])


def number(post: Post) -> int | None:
    """Return the number in header and body; fail if they disagree."""
    body, header = json.loads(post.body), post.headers.get("webhook-sequence")
    if header is None:
        assert "sequence" not in body
        return None
    assert body["sequence"] == (header.zfill(19) if "specversion" in body else int(header))
    return int(header)


async def numbers(service: Service, posts: Iterable[Post]) -> list[int | None]:
    """Return the numbers of posts, after checking that each is, byte for byte, what is stored."""
    rows = await service.query("SELECT id, body FROM webhooks.messages")
    kept = {(f"msg_{row['id'].hex}", row["body"]) for row in rows}
    assert {(post.id, post.body) for post in posts} <= kept
    return [number(post) for post in posts]


@every_format
async def test_every_attempt_has_the_number_and_the_bytes_of_the_first(
    service: Service, merchant: Merchant, receiver: Receiver, format_: str
) -> None:
    """Sent from memory, retried, sent manually, resent as a message, and replayed."""
    key = merchant.partner_key
    made = await service.endpoint(key, receiver.url, format=format_)
    receiver.status = 500
    await service.consume(code_redeemed(merchant, "C0"), code_redeemed(merchant, "C1"))
    await service.attempted(2)
    receiver.status = 204
    service.clock.advance(seconds=7)
    await service.settled(2)
    second = next(post for post in receiver.posts if number(post) == 2)
    [delivery] = (await service.send("GET", f"/deliveries?message_id={second.id}", key)).data
    assert (await service.send("POST", f"/deliveries/{delivery['id']}/retry", key)).data["outcome"] == "succeeded"
    assert (await resend(service, key, second.id)).status == 202
    await until(lambda: len(receiver.posts) == 6)
    await service.settled(2)
    await ended(service, key, await begin(service, key, made, "all"))
    await until(lambda: len(receiver.posts) == 8)
    assert sorted(await numbers(service, receiver.posts), key=str) == [1] * 3 + [2] * 5
    assert len({post.body for post in receiver.posts}) == 2


@every_format
async def test_who_takes_over_from_a_dead_process_sends_the_same(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver, format_: str
) -> None:
    await service.endpoint(merchant.program_key, receiver.url, format=format_, ordering="strict", status="paused")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(12)))
    await service.dispatcher.stop()
    await service.query("UPDATE webhooks.endpoints SET status = 'active', version = version + 1")
    [held] = await service.queue.claim(100, MOST_BYTES, [], 100)
    clock.advance(seconds=LEASE_SECONDS + 1)
    async with running_service(database, clock):
        await service.settled(12)
    assert await numbers(service, receiver.posts) == list(range(1, 13))
    assert (receiver.posts[0].body, held.sequence) == (held.body, 1)


@every_format
async def test_an_endpoint_that_comes_later_gets_what_the_others_got(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver, format_: str
) -> None:
    """By a replay of missed messages, and by resending a message to it."""
    key = merchant.program_key
    await service.endpoint(key, receiver.url, format=format_)
    await service.consume(code_redeemed(merchant, "C0"), code_redeemed(merchant, "C1"))
    await service.settled(2)
    first = next(post for post in receiver.posts if number(post) == 1)
    later = await service.endpoint(key, second_receiver.url, format=format_)
    assert (await resend(service, key, first.id, later)).status == 202
    await service.settled(3)
    await ended(service, key, await begin(service, key, later, "missing"))
    await service.settled(4)
    assert await numbers(service, second_receiver.posts) == [1, 2]
    assert {post.body for post in second_receiver.posts} == {post.body for post in receiver.posts}


@every_format
@pytest.mark.parametrize("has_other", [True, False])
async def test_what_was_only_kept_has_the_number_of_its_owner_if_that_got_one(
    service: Service, merchant: Merchant, receiver: Receiver, format_: str, has_other: bool
) -> None:
    """A disabled endpoint gets nothing; another one of the owner's may have got the message."""
    key = merchant.partner_key
    made = await service.endpoint(key, receiver.url, format=format_)
    await service.query("UPDATE webhooks.endpoints SET status = 'disabled', disabled_reason = 'gone'")
    if has_other:
        await service.endpoint(key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.query(
        "UPDATE webhooks.endpoints SET status = 'active', disabled_reason = NULL, version = version + 1"
    )
    await ended(service, key, await begin(service, key, made, "missing"))
    await service.settled(1 + has_other)
    posts = [post for post in receiver.posts if "event" not in json.loads(post.body)]
    assert await numbers(service, posts) == [1 if has_other else None]


@every_format
@pytest.mark.parametrize("was_sent", [True, False])
@pytest.mark.parametrize("in_order", [True, False])
async def test_an_event_that_comes_again_after_it_was_forgotten_keeps_its_number(
    service: Service,
    merchant: Merchant,
    receiver: Receiver,
    second_receiver: Receiver,
    format_: str,
    was_sent: bool,
    in_order: bool,
) -> None:
    """The body already exists and does not change: what is sent from memory and queue is what is stored."""
    key, event = merchant.program_key, code_redeemed(merchant)
    made = await service.endpoint(key, receiver.url, format=format_)
    if not was_sent:
        await service.query("UPDATE webhooks.endpoints SET status = 'disabled', disabled_reason = 'gone'")
    await service.consume(event, code_redeemed(merchant, "C1"))
    await service.settled(2 if was_sent else 0)
    await service.query("DELETE FROM webhooks.inbox")
    assert (await service.send("DELETE", f"/endpoints/{made['id']}", key)).status == 200
    await service.endpoint(key, second_receiver.url, format=format_, ordering="strict" if in_order else "none")
    await service.consume(event)
    await service.settled(3 if was_sent else 1)
    assert await numbers(service, second_receiver.posts) == [1 if was_sent else None]
    rows = await service.query("SELECT sequence FROM webhooks.deliveries ORDER BY id DESC LIMIT 1")
    assert rows == [{"sequence": 1 if was_sent else None}]


@every_format
async def test_a_test_has_no_number(service: Service, merchant: Merchant, receiver: Receiver, format_: str) -> None:
    made = await service.endpoint(merchant.partner_key, receiver.url, format=format_)
    for body in (None, {"event_type": "code.redeemed"}):
        await service.send("POST", f"/endpoints/{made['id']}/test", merchant.partner_key, body)
    assert await numbers(service, receiver.posts) == [None, None]


@pytest.mark.parametrize("seed", range(3))
async def test_header_and_body_agree_whatever_happens(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver, seed: int
) -> None:
    """Two processes, endpoints of two owners in all formats, some ordered; flat bodies show no number."""
    chance = random.Random(seed)  # noqa: S311 - it has to repeat itself
    for key in (merchant.program_key, merchant.partner_key):
        for format_ in ("flat", "standard", "thin", "cloudevents"):
            for _ in range(chance.randint(1, 2)):
                await service.endpoint(key, receiver.url, format=format_, ordering=chance.choice(["none", "strict"]))
    [endpoints] = await service.query("SELECT count(*) FROM webhooks.endpoints")
    async with running_service(database, clock) as other:
        count = 0
        for _ in range(4):
            events = [code_redeemed(merchant, f"C{count + n}") for n in range(chance.randint(1, 4))]
            count += len(events)
            await chance.choice([service, other]).consume(*events)
        await service.settled(count * endpoints["count"])
    shown = [post for post in receiver.posts if b'"event":' not in post.body]
    assert set(await numbers(service, shown)) == set(range(1, count + 1))
    for post in receiver.posts:
        assert ("sequence" in json.loads(post.body)) == (b'"event":' not in post.body)
    rows = await service.query(
        "SELECT m.format, m.body, m.sequence, d.sequence AS header FROM webhooks.messages m"
        " JOIN webhooks.deliveries d ON d.message_id = m.id AND d.format = m.format"
    )
    assert all(row["sequence"] == (None if row["format"].startswith("flat") else row["header"]) for row in rows)


def test_numbers_in_cloudevents_sort_as_text() -> None:
    texts = [json.loads(numbered("cloudevents-partner", b'{"a":1', n, b"}"))["sequence"] for n in (2, 10, 2**63 - 1)]
    assert texts == sorted(texts)
    assert [int(text) for text in texts] == [2, 10, 2**63 - 1]
