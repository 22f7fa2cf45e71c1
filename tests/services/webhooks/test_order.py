"""Ordered delivery; numbers that show the order without it; and rate limits."""

import asyncio
import json
from collections.abc import Sequence

from aiohttp import web

from services.webhooks.dispatcher.holdings import MOST_BYTES
from services.webhooks.domain.deliveries import LEASE_SECONDS
from services.webhooks.domain.schedule import LIFETIME
from shared.ids import new_id
from tests.databases import Database
from tests.services.webhooks.conftest import HeldClock, Merchant, Service, code_redeemed, running_service, until
from tests.services.webhooks.receiver import Post, Receiver

CODE_IDS = [new_id() for _ in range(3)]


def codes(posts: Sequence[Post]) -> list[str]:
    return [json.loads(post.body)["code"] for post in posts]


async def consume_lines(service: Service, merchant: Merchant, *numbers: int) -> None:
    """Take in three lines of events, alternating between them."""
    for number in numbers:
        await service.consume(
            *(code_redeemed(merchant, f"L{line}-{number}", code_id=CODE_IDS[line]) for line in range(3))
        )


def line_of(posts: Sequence[Post], line: int) -> list[str]:
    return [code for code in codes(posts) if code.startswith(f"L{line}-")]


async def test_what_is_about_the_same_goes_out_in_order_and_the_rest_beside_it(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url, ordering="key")

    async def answer(post: Post) -> web.StreamResponse:
        is_first = [each.id for each in receiver.posts].count(post.id) == 1
        return web.Response(status=500 if is_first and b"L1-" in post.body else 204)

    receiver.answer = answer
    await consume_lines(service, merchant, *range(4))
    await until(lambda: len(line_of(receiver.posts, 0)) == len(line_of(receiver.posts, 2)) == 4)
    assert line_of(receiver.posts, 0) == [f"L0-{n}" for n in range(4)]
    assert line_of(receiver.posts, 2) == [f"L2-{n}" for n in range(4)]
    for number in range(4):
        await until(lambda number=number: line_of(receiver.posts, 1)[-1:] == [f"L1-{number}"])  # type: ignore[misc]
        assert line_of(receiver.posts, 1).count(f"L1-{number}") == 1
        await service.attempted(8 + 2 * number + 1)
        service.clock.advance(seconds=7)
    await service.settled(12)
    assert line_of(receiver.posts, 1) == [f"L1-{n}" for n in range(4) for _ in range(2)]


async def test_strict_order_has_one_in_flight(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    """A receiver that asked for strict order would have to sort concurrent requests itself."""
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(20)))
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(20, 40)))
    await service.settled(40)
    assert codes(receiver.posts) == [f"C{n}" for n in range(40)]
    assert receiver.most_under_way == 1


async def test_order_holds_over_processes(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Replicas would overtake each other."""
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict")
    async with running_service(database, clock) as other:
        for number in range(10):
            await service.consume(code_redeemed(merchant, f"C{2 * number}"))
            await other.consume(code_redeemed(merchant, f"C{2 * number + 1}"))
        await service.settled(20)
    assert codes(receiver.posts) == [f"C{n}" for n in range(20)]


async def test_both_take_in_and_finish_at_once_and_nobody_is_forgotten(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """A delivery added while its predecessor leaves must be called up by one of the two transactions."""
    await service.endpoint(merchant.partner_key, receiver.url, ordering="key")
    async with running_service(database, clock) as other:
        for batch in range(10):
            await asyncio.gather(
                *(
                    each.consume(*(code_redeemed(merchant, f"C{batch}", code_id=code_id) for code_id in CODE_IDS))
                    for each in (service, other)
                )
            )
        await service.settled(60)
    assert len({post.id for post in receiver.posts}) == len(receiver.posts) == 60


async def die_first(service: Service, merchant: Merchant, receiver: Receiver, on_exhausted: str) -> None:
    """Let the first delivery of a line of three die."""
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict", on_exhausted=on_exhausted)
    receiver.status, receiver.headers = 500, {"webhook-delivery": "abort-message"}
    release = receiver.hang(500)

    async def answer(post: Post) -> web.StreamResponse:
        await release.wait()
        if b'"C0"' in post.body and len(receiver.posts) == 1:
            return web.Response(status=500, headers={"webhook-delivery": "abort-message"})
        return web.Response(status=204)

    receiver.answer = answer
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(3)))
    await until(lambda: receiver.posts)
    release.set()
    await service.settled(1, "dead")


async def test_what_is_exhausted_is_passed_where_that_is_wanted(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await die_first(service, merchant, receiver, "skip")
    await service.settled(2)
    assert codes(receiver.posts) == ["C0", "C1", "C2"]


async def test_what_is_exhausted_holds_up_the_line_until_it_was_replayed(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await die_first(service, merchant, receiver, "block")
    await service.consume(code_redeemed(merchant, "C3"))
    await service.queue.call_up()
    assert codes(receiver.posts) == ["C0"]
    letters = (await service.send("GET", "/dead-letters", merchant.partner_key)).data
    await service.send("POST", f"/dead-letters/{letters[0]['id']}/replay", merchant.partner_key)
    await service.settled(4)
    assert codes(receiver.posts) == ["C0", "C0", "C1", "C2", "C3"]
    assert receiver.most_under_way == 1


async def test_a_process_that_dies_with_the_first_of_a_line_does_not_end_the_line(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Everything behind it would wait for ever."""
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict", status="paused")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(3)))
    await service.dispatcher.stop()
    await service.query("UPDATE webhooks.endpoints SET status = 'active', version = version + 1")
    assert len(await service.queue.claim(100, MOST_BYTES, [], 100)) == 1
    clock.advance(seconds=LEASE_SECONDS + 1)
    async with running_service(database, clock):
        await service.settled(3)
    assert codes(receiver.posts) == ["C0", "C1", "C2"]


async def test_a_line_ends_with_its_time(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    """A line behind a receiver that is gone would grow without end."""
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict", on_exhausted="block")
    receiver.status = 500
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(3)))
    await service.attempted(1)
    service.clock.advance(seconds=LIFETIME.total_seconds() + 300)
    await service.settled(3, "dead")
    assert len(receiver.posts) == 1


async def test_deliveries_are_numbered_in_the_order_of_their_events(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.endpoint(merchant.program_key, receiver.url)
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(5)))
    async with running_service(database, clock) as other:
        await other.consume(code_redeemed(merchant, "C5"))
        await service.consume(code_redeemed(merchant, "C6"))
        await service.settled(14)
    numbers: dict[str, set[int]] = {}
    for post in receiver.posts:
        numbers.setdefault(json.loads(post.body)["code"], set()).add(int(post.headers["webhook-sequence"]))
    assert numbers == {f"C{n}": {n + 1} for n in range(7)}


async def test_a_retry_keeps_its_number(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    receiver.status = 204
    service.clock.advance(seconds=7)
    await service.settled(1)
    assert [post.headers["webhook-sequence"] for post in receiver.posts] == ["1", "1"]
