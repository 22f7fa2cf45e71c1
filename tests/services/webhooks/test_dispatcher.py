"""Leases, fencing and fairness: several processes on one database, receivers that hang, processes that die or stop."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from structlog.testing import capture_logs

from services.webhooks.dispatcher.dispatcher import LEAVING_SECONDS
from services.webhooks.dispatcher.holdings import MOST_BYTES
from services.webhooks.domain.deliveries import LEASE_SECONDS, HeldDelivery
from shared.metrics import WEBHOOKS_FENCED
from tests.databases import Database
from tests.services.webhooks.conftest import (
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    make_merchant,
    running_service,
    until,
    value,
)
from tests.services.webhooks.receiver import Post, Receiver


async def claim(service: Service, limit: int = 100) -> list[HeldDelivery]:
    """Claim as a process that then does nothing with the result."""
    return await service.queue.claim(limit, MOST_BYTES, [], 100)


@asynccontextmanager
async def quiet_service(database: Database, clock: HeldClock) -> AsyncIterator[Service]:
    """A process that takes events in and leaves the deliveries due in the table."""
    async with running_service(database, clock, sends=False) as service:
        service.dispatcher.sending.is_stopping = True
        yield service


async def test_a_leased_delivery_is_claimed_by_nobody_until_its_lease_runs_out(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Two processes would POST the same delivery at the same moment."""
    release = receiver.hang()
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await until(lambda: receiver.under_way == 1)
    assert await claim(service) == []
    clock.advance(seconds=LEASE_SECONDS - 1)
    assert await claim(service) == []
    clock.advance(seconds=2)
    async with running_service(database, clock) as other:
        await until(lambda: receiver.under_way == 2)
        release.set()
        await service.settled(1)
        await until(lambda: not other.dispatcher.sending.in_flight)
    first, second = receiver.posts
    assert (first.id, first.body) == (second.id, second.body)


async def test_a_result_that_comes_after_the_lease_was_lost_changes_nothing(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """The stale worker's failure must neither reschedule nor count a delivery that another worker has delivered."""
    release = receiver.hang(500)
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await until(lambda: receiver.under_way == 1)
    clock.advance(seconds=LEASE_SECONDS + 1)
    receiver.answer = None
    async with running_service(database, clock) as other:
        await other.settled(1)
        fenced = value(WEBHOOKS_FENCED)
        release.set()
        await until(lambda: value(WEBHOOKS_FENCED) == fenced + 1)
    rows = await service.query("SELECT status, attempts_made FROM webhooks.deliveries")
    assert [(row["status"], row["attempts_made"]) for row in rows] == [("succeeded", 1)]
    assert len(await service.query("SELECT * FROM webhooks.attempts")) == 1


async def test_a_process_that_died_between_claim_and_result_leaves_nothing_behind(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Its deliveries would stay leased for ever."""
    await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(20)))
    await service.dispatcher.stop()
    await service.query("UPDATE webhooks.endpoints SET status = 'active', version = version + 1")
    async with quiet_service(database, clock) as dead:
        assert len(await claim(dead)) == 20
    clock.advance(seconds=LEASE_SECONDS + 1)
    async with running_service(database, clock):
        await service.settled(20)
    assert len({post.id for post in receiver.posts}) == len(receiver.posts) == 20


async def test_many_processes_send_each_delivery_once(
    database: Database, clock: HeldClock, merchant: Merchant, service: Service, receiver: Receiver
) -> None:
    """Replicas would multiply webhooks instead of sharing them."""
    await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.endpoint(merchant.program_key, receiver.url, status="paused")
    events = [code_redeemed(merchant, f"C{n}") for n in range(300)]
    await service.consume(*events)
    async with running_service(database, clock) as second, running_service(database, clock) as third:
        await service.query("UPDATE webhooks.endpoints SET status = 'active', version = version + 1")
        for process in (service, second, third):
            process.dispatcher.sending.wake()
        await service.settled(600)
    counts = Counter(post.id for post in receiver.posts)
    assert set(counts.values()) == {2}
    assert len(counts) == 300
    rows = await service.query("SELECT DISTINCT attempts_made FROM webhooks.deliveries")
    assert [row["attempts_made"] for row in rows] == [1]


async def test_events_taken_in_by_two_processes_at_once_are_sent_once(
    database: Database, clock: HeldClock, merchant: Merchant, service: Service, receiver: Receiver
) -> None:
    """After a lost connection the broker redelivers to another process while the first is still working."""
    await service.endpoint(merchant.partner_key, receiver.url)
    events = [code_redeemed(merchant, f"C{n}") for n in range(100)]
    async with running_service(database, clock) as other:
        await asyncio.gather(service.consume(*events), other.consume(*events), service.consume(*events))
        await service.settled(100)
    assert len(receiver.posts) == 100


async def test_no_endpoint_has_more_in_flight_than_it_allows(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """A small receiver would be overrun by as many POSTs as there are replicas."""
    await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=3)
    for batch in range(4):
        await service.consume(*(code_redeemed(merchant, f"C{batch}-{n}") for n in range(50)))
    await service.settled(200)
    assert receiver.most_under_way <= 3


async def test_no_process_has_more_in_flight_than_it_allows(
    database: Database, clock: HeldClock, merchant: Merchant, service: Service, receiver: Receiver
) -> None:
    """A backlog would exhaust the sockets and the memory of the process."""
    await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(100)))
    await service.dispatcher.stop()
    async with running_service(database, clock, max_in_flight=4) as small:
        await service.query("UPDATE webhooks.endpoints SET status = 'active', version = version + 1")
        small.dispatcher.sending.wake()
        await small.settled(100)
    assert receiver.most_under_way <= 4


async def test_a_busy_endpoint_does_not_keep_a_claim_for_itself(
    database: Database, clock: HeldClock, merchant: Merchant, service: Service
) -> None:
    """An endpoint with a long backlog would delay the webhooks of all others."""
    async with quiet_service(database, clock) as quiet:
        await service.dispatcher.stop()
        busy = await service.endpoint(merchant.partner_key, "https://busy.example.com/")
        await quiet.consume(*(code_redeemed(merchant, f"C{n}") for n in range(500)))
        small = [await service.endpoint(merchant.program_key, f"https://s{n}.example.com/") for n in range(20)]
        await quiet.consume(code_redeemed(merchant, "LAST"))
        claimed = Counter(str(held.endpoint_id) for held in await claim(quiet, 100))
    assert {claimed[endpoint["id"]] for endpoint in small} == {1}
    assert claimed[busy["id"]] >= 1


async def test_a_stopping_process_finishes_what_is_in_flight_and_gives_back_the_rest(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Every deployment would delay deliveries until their leases expire, or send them twice."""
    await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=2)
    release = receiver.hang()
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(10)))
    await until(lambda: receiver.under_way == 2)
    stopping = asyncio.create_task(service.dispatcher.stop())
    await until(lambda: service.dispatcher.sending.is_stopping and not service.dispatcher.sending.to_release)
    assert not stopping.done()
    release.set()
    await asyncio.wait_for(stopping, 10)
    rows = await service.query("SELECT token FROM webhooks.delivery_queue")
    assert [row["token"] for row in rows] == [None] * 8
    assert len(receiver.posts) == 2
    rows = await service.query("SELECT count(*) FROM webhooks.deliveries WHERE status = 'succeeded'")
    assert rows[0]["count"] == 2


async def test_a_stopping_process_does_not_wait_for_a_database_that_takes_nothing(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """It would be killed at its deadline, and count as failed."""
    await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=2)
    release = receiver.hang()
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(10)))
    await until(lambda: receiver.under_way == 2)
    [name] = await service.query("SELECT current_database() AS name")
    await service.query(f'ALTER DATABASE "{name["name"]}" SET default_transaction_read_only = on')
    await service.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'mintwire_webhooks' AND datname = current_database()"
    )
    release.set()
    with capture_logs() as logs:
        await asyncio.wait_for(service.dispatcher.stop(), LEAVING_SECONDS + 10)
    [left] = [line for line in logs if line["event"] == "deliveries_left_to_leases"]
    assert left["unwritten"] >= 2
    await service.query(f'ALTER DATABASE "{name["name"]}" RESET default_transaction_read_only')
    await until(lambda: not service.dispatcher.writer.unwritten)


async def test_results_wait_for_a_database_that_is_away(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Webhooks that have arrived would be sent again after every failover."""
    release = receiver.hang()
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await until(lambda: receiver.under_way == 1)
    await service.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'mintwire_webhooks' AND datname = current_database()"
    )
    release.set()
    await service.settled(1)
    assert len(receiver.posts) == 1


async def test_a_change_made_by_another_process_is_noticed(
    database: Database, clock: HeldClock, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """A paused or redirected endpoint would still get webhooks from the other replicas."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=1)
    release = receiver.hang()
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(4)))
    await until(lambda: receiver.under_way == 1)
    async with quiet_service(database, clock) as other:
        await other.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, {"status": "paused"})

    def is_given_back() -> bool:
        return not any(pipe.waiting for pipe in service.dispatcher.sending.pipes.values())

    await until(is_given_back)
    release.set()
    await service.settled(1)
    await service.stays_idle()
    assert len(receiver.posts) == 1


async def test_a_410_for_an_old_url_does_not_disable_the_new_one(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    """An owner who moves a receiver would lose the new endpoint to a late response of the old one."""
    release = receiver.hang(410)
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await until(lambda: receiver.under_way == 1)
    path = f"/endpoints/{endpoint['id']}"
    await service.send("PATCH", path, merchant.partner_key, {"url": second_receiver.url})
    release.set()
    await service.settled(1, "dead")
    shown = await service.send("GET", path, merchant.partner_key)
    assert shown.data["status"] == "active"
    await service.consume(code_redeemed(merchant, "NEXT"))
    await until(lambda: second_receiver.posts)


async def large_bodies(service: Service, merchant: Merchant, url: str, body_bytes: int) -> None:
    """Make twenty messages due for fifty endpoints, then enlarge their bodies."""
    for _ in range(50):
        await service.endpoint(merchant.program_key, url)
    await service.consume(*(code_redeemed(merchant, f"C{number}") for number in range(20)))
    await service.query("UPDATE webhooks.messages SET body = convert_to(repeat('x', $1), 'UTF8')", body_bytes)


async def test_large_bodies_wait_in_the_table_and_not_in_memory(
    database: Database, clock: HeldClock, receiver: Receiver
) -> None:
    """A thousand bodies of 200 KiB are due at a receiver that hangs: the process may hold only a bounded size."""
    body_bytes, most, arrived = 200 * 1024, 0, set[tuple[str, str]]()
    async with quiet_service(database, clock) as quiet:
        merchant = await make_merchant(quiet.admin, clock())
        await large_bodies(quiet, merchant, receiver.url, body_bytes)
    release = asyncio.Event()

    async def take(post: Post) -> web.StreamResponse:
        assert len(post.body) == body_bytes
        await release.wait()
        arrived.add((post.id, post.headers["webhook-signature"]))
        receiver.posts.clear()
        return web.Response(status=204)

    receiver.answer = take

    def holds(service: Service) -> int:
        nonlocal most
        pipes = service.dispatcher.sending.pipes.values()
        waiting = [held for pipe in pipes for held in (*pipe.first_tries, *pipe.retries)]
        most = max(most, sum(len(held.body) for held in waiting))
        return most

    async with running_service(database, clock) as service:
        await until(lambda: holds(service) and receiver.under_way >= 50)
        await service.claimed_again()
        holds(service)
        release.set()
        await until(lambda: holds(service) and len(arrived) == 1000)
        await service.settled(1000)
        assert service.dispatcher.sending.bytes_waiting == 0
    assert body_bytes < most < MOST_BYTES + body_bytes


async def test_a_claim_takes_bodies_up_to_a_sum_and_one_at_least(
    database: Database, clock: HeldClock, receiver: Receiver
) -> None:
    async with quiet_service(database, clock) as quiet:
        merchant = await make_merchant(quiet.admin, clock())
        await large_bodies(quiet, merchant, receiver.url, 1000)
        claim = quiet.queue.claim
        assert len(await claim(500, 1, [], 100)) == 1
        assert len(await claim(500, 1000, [], 100)) == 1
        taken = await claim(500, 49_001, [], 100)
        # One of each endpoint in turn.
        assert len(taken) == len({held.endpoint_id for held in taken}) == 50
        assert len(await claim(500, 10**9, [], 100)) == 500
        # Deliveries that were chosen but not taken are not leased.
        assert len(await claim(500, 10**9, [], 100)) == 448
