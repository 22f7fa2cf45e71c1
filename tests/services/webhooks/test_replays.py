"""Replays as jobs: what they select, their pace, and that they continue after a crash or end when canceled."""

import asyncio
import secrets
from itertools import pairwise
from typing import Any

import pytest

from services.webhooks.domain.replays import MAX_LIVE_REPLAYS, Replay
from services.webhooks.store import replays
from services.webhooks.usecases.run_replays import LEASE, RunReplays
from shared.clock import utc_now
from shared.ids import new_id
from tests.databases import Database
from tests.services.webhooks.conftest import (
    DEADLINE_SECONDS,
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    make_merchant,
    make_partner,
    running_service,
)
from tests.services.webhooks.receiver import Receiver

SINCE = "2020-01-01T00:00:00Z"


async def begin(service: Service, key: str, endpoint: Any, which: str, **members: Any) -> Any:
    # A replay ends before now; the clock of the test stands still while ids use the machine's.
    service.clock.advance(seconds=60)
    body = {"endpoint_id": endpoint["id"], "which": which, "since": SINCE, **members}
    begun = await service.send("POST", "/replays", key, body)
    assert begun.status == 202, begun.body
    return begun.data


async def ended(service: Service, key: str, replay: Any, status: str = "completed") -> Any:
    """Wait until a replay has finished and none of its deliveries waits."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            shown = (await service.send("GET", f"/replays/{replay['id']}", key)).data
            if shown["status"] == status and not shown["waiting"]:
                return shown
            await asyncio.sleep(0.02)


async def dead_ones(service: Service, merchant: Merchant, receiver: Receiver, count: int) -> Any:
    """Return an endpoint, active again, with this many dead letters."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(count)))
    await service.admin.execute(
        "WITH gone AS (DELETE FROM webhooks.delivery_queue RETURNING delivery_id, endpoint_id, event_type),"
        " dead AS (UPDATE webhooks.deliveries d SET status = 'dead', completed_at = $1 FROM gone"
        "          WHERE d.id = gone.delivery_id)"
        " INSERT INTO webhooks.dead_letters (delivery_id, endpoint_id, event_type, reason, died_at)"
        " SELECT delivery_id, endpoint_id, event_type, 'expired', $1 FROM gone",
        service.clock(),
    )
    await service.send("POST", f"/endpoints/{endpoint['id']}/resume", merchant.partner_key)
    return endpoint


async def test_what_failed_is_sent_again_as_it_was(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint = await dead_ones(service, merchant, receiver, 5)
    counted = await ended(
        service, merchant.partner_key, await begin(service, merchant.partner_key, endpoint, "failed", dry_run=True)
    )
    assert (counted["matched"], counted["enqueued"], len(receiver.posts)) == (5, 0, 0)
    done = await ended(service, merchant.partner_key, await begin(service, merchant.partner_key, endpoint, "failed"))
    assert (done["matched"], done["enqueued"], done["skipped"]) == (5, 5, 0)
    assert (done["succeeded"], done["dead"]) == (5, 0)
    assert len({post.id for post in receiver.posts}) == 5
    for post in receiver.posts:
        post.verify(endpoint["secret"])
    attempts = await service.query("SELECT trigger, number FROM webhooks.attempts")
    assert attempts == [{"trigger": "replay", "number": 1}] * 5
    assert (await service.send("GET", "/dead-letters", merchant.partner_key)).data == []


async def test_what_a_disabled_endpoint_missed_is_found(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, status="disabled")
    other = await service.endpoint(merchant.program_key, receiver.url, format="standard")
    await service.consume(code_redeemed(merchant, "A"), code_redeemed(merchant, "B"))
    await service.settled(2)
    assert len(receiver.posts) == 2
    await service.send("POST", f"/endpoints/{endpoint['id']}/enable", merchant.partner_key)
    await service.consume(code_redeemed(merchant, "C"))
    await service.settled(4)
    done = await ended(service, merchant.partner_key, await begin(service, merchant.partner_key, endpoint, "missing"))
    assert (done["matched"], done["enqueued"], done["succeeded"]) == (2, 2, 2)
    again = await ended(service, merchant.partner_key, await begin(service, merchant.partner_key, endpoint, "missing"))
    assert again["matched"] == 0
    assert other["id"] not in str(done)


async def test_all_means_also_what_has_succeeded(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(3)))
    await service.settled(3)
    await service.send("POST", f"/endpoints/{endpoint['id']}/test", merchant.partner_key)
    done = await ended(service, merchant.partner_key, await begin(service, merchant.partner_key, endpoint, "all"))
    assert (done["matched"], done["succeeded"]) == (3, 3)
    assert len(receiver.posts) == 7
    none = await begin(service, merchant.partner_key, endpoint, "all", event_types=["codes.generated"])
    assert (await ended(service, merchant.partner_key, none))["matched"] == 0


async def test_a_disabled_endpoint_gets_what_is_replayed_and_stays_disabled(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await dead_ones(service, merchant, receiver, 2)
    await service.send("POST", f"/endpoints/{endpoint['id']}/disable", merchant.partner_key)
    done = await ended(service, merchant.partner_key, await begin(service, merchant.partner_key, endpoint, "failed"))
    assert (done["succeeded"], len(receiver.posts)) == (2, 2)
    shown = await service.send("GET", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    assert (shown.data["status"], shown.data["disabled_reason"]) == ("disabled", "by_owner")


async def test_what_was_redacted_is_skipped_and_counted(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await dead_ones(service, merchant, receiver, 3)
    letter = (await service.send("GET", "/dead-letters", merchant.partner_key)).data[0]
    redacted = await service.send("DELETE", f"/messages/{letter['message_id']}/content", merchant.program_key)
    assert redacted.status == 200
    done = await ended(service, merchant.partner_key, await begin(service, merchant.partner_key, endpoint, "failed"))
    assert (done["matched"], done["enqueued"], done["skipped"]) == (3, 2, 1)
    refused = await service.send("POST", f"/deliveries/{letter['id']}/retry", merchant.partner_key)
    assert (refused.status, refused.body["code"]) == (409, "content_gone")


async def claimed(service: Service) -> Replay:
    """Take over the oldest replay, as a worker does."""
    now = service.clock()
    async with service.pool.connection() as connection:
        found = await replays.claim(connection, secrets.randbits(62), now + LEASE, now)
    assert found is not None
    return found


async def test_after_a_crash_another_goes_on_behind_what_was_done(database: Database, clock: HeldClock) -> None:
    """After the lease has expired, nothing is sent twice and nothing is left out."""
    async with running_service(database, clock, sends=False, replays=False) as service:
        merchant = await make_merchant(service.admin, clock())
        endpoint = await dead_ones(service, merchant, Receiver("https://example.com/"), 10)
        replay = await begin(service, merchant.partner_key, endpoint, "failed", rate_per_second=8)
        first = await claimed(service)
        assert await service.worker.step(first) == 4
        async with service.pool.connection() as connection:
            assert await replays.claim(connection, 1, clock() + LEASE, clock()) is None
        clock.advance(seconds=LEASE.total_seconds() + 1)
        second = await claimed(service)
        assert await service.worker.step(first) is None
        while await service.worker.step(second) is not None:
            pass
        done = (await service.send("GET", f"/replays/{replay['id']}", merchant.partner_key)).data
        assert (done["status"], done["matched"], done["enqueued"], done["waiting"]) == ("completed", 10, 10, 10)
        queued = await service.query("SELECT count(*) FROM webhooks.delivery_queue")
        assert queued[0]["count"] == 10


async def test_a_canceled_replay_takes_no_further_step(database: Database, clock: HeldClock) -> None:
    """Cancelling is the only way to stop a replay that was started by mistake."""
    async with running_service(database, clock, sends=False, replays=False) as service:
        merchant = await make_merchant(service.admin, clock())
        endpoint = await dead_ones(service, merchant, Receiver("https://example.com/"), 6)
        replay = await begin(service, merchant.partner_key, endpoint, "failed", rate_per_second=4)
        job = await claimed(service)
        assert await service.worker.step(job) == 2
        canceled = await service.send("POST", f"/replays/{replay['id']}/cancel", merchant.partner_key)
        assert (canceled.data["status"], canceled.data["enqueued"]) == ("canceled", 2)
        assert await service.worker.step(job) is None
        again = await service.send("POST", f"/replays/{replay['id']}/cancel", merchant.partner_key)
        assert (again.status, again.body["code"]) == (409, "replay_ended")
        assert len((await service.send("GET", "/dead-letters", merchant.partner_key)).data) == 4


async def test_a_step_is_half_a_seconds_worth(database: Database, clock: HeldClock) -> None:
    """The rate is never exceeded: the worker sleeps in proportion to what a step has enqueued."""
    async with running_service(database, clock, sends=False, replays=False) as service:
        merchant = await make_merchant(service.admin, clock())
        endpoint = await dead_ones(service, merchant, Receiver("https://example.com/"), 3)
        await begin(service, merchant.partner_key, endpoint, "failed", rate_per_second=1)
        job = await claimed(service)
        assert [await service.worker.step(job) for _ in range(4)] == [1, 1, 1, None]


async def test_no_more_becomes_due_than_the_rate_allows(database: Database, clock: HeldClock) -> None:
    """Steps of half a second's worth, and at least half a second between them."""
    async with running_service(database, clock, sends=False, replays=False) as service:
        merchant = await make_merchant(service.admin, clock())
        endpoint = await dead_ones(service, merchant, Receiver("https://example.com/"), 35)
        replay = await begin(service, merchant.partner_key, endpoint, "failed", rate_per_second=20)
        worker = RunReplays(service.pool, utc_now, new_id, service.dispatcher.sending.wake, service.acts.extend)
        await asyncio.wait_for(worker.work(await claimed(service)), 2 * DEADLINE_SECONDS)
        shown = (await service.send("GET", f"/replays/{replay['id']}", merchant.partner_key)).data
        assert (shown["status"], shown["enqueued"]) == ("completed", 35)
        due = await service.query(
            "SELECT visible_at AS at, count(*) FROM webhooks.delivery_queue GROUP BY visible_at ORDER BY visible_at"
        )
        assert [each["count"] for each in due] == [10, 10, 10, 5]
        pauses = [(later["at"] - earlier["at"]).total_seconds() for earlier, later in pairwise(due)]
        # A step sleeps by the loop's clock and is dated by the machine's.
        assert min(pauses) > 0.49


@pytest.mark.parametrize("which", ["failed", "missing", "all"])
async def test_a_dry_run_counts_what_a_real_one_does(
    service: Service, merchant: Merchant, receiver: Receiver, which: str
) -> None:
    """For each kind, with other event types and messages without content in between."""
    endpoint = await dead_ones(service, merchant, receiver, 7)
    other = await service.endpoint(merchant.partner_key, receiver.url, status="paused", event_types=["*"])
    await service.send("POST", f"/endpoints/{endpoint['id']}/disable", merchant.partner_key)
    await service.consume(*(code_redeemed(merchant, f"MISSED{n}") for n in range(4)))
    await service.send("POST", f"/endpoints/{other['id']}/disable", merchant.partner_key)
    await service.settled(4 + 7, "dead")
    for code in ("C3", "MISSED1"):
        [message] = await service.query("SELECT id FROM webhooks.messages WHERE body LIKE $1", f'%"{code}"%'.encode())
        path = f"/messages/msg_{message['id'].hex}/content"
        assert (await service.send("DELETE", path, merchant.program_key)).status == 200
    key, chosen = merchant.partner_key, {"event_types": ["code.redeemed"]}
    dry = await ended(service, key, await begin(service, key, endpoint, which, dry_run=True, **chosen))
    assert (dry["enqueued"], receiver.posts) == (0, [])
    real = await ended(service, key, await begin(service, key, endpoint, which, **chosen))
    assert (real["matched"], real["skipped"]) == (dry["matched"], dry["skipped"])
    assert real["enqueued"] == real["succeeded"] == dry["matched"] - dry["skipped"]
    assert real["enqueued"] == len(receiver.posts) == (3 if which == "missing" else 6)


async def test_an_archived_endpoint_ends_its_replays(database: Database, clock: HeldClock) -> None:
    async with running_service(database, clock, sends=False, replays=False) as service:
        merchant = await make_merchant(service.admin, clock())
        endpoint = await dead_ones(service, merchant, Receiver("https://example.com/"), 1)
        replay = await begin(service, merchant.partner_key, endpoint, "failed")
        await service.send("DELETE", f"/endpoints/{endpoint['id']}", merchant.partner_key)
        assert await service.worker.step(await claimed(service)) is None
        shown = await service.send("GET", f"/replays/{replay['id']}", merchant.partner_key)
        assert (shown.data["status"], shown.data["enqueued"]) == ("canceled", 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"which": "some"}, "which"),
        ({"since": "2999-01-01T00:00:00Z"}, "since"),
        ({"since": "2020-01-01T00:00:00"}, "since"),
        ({"until": "2019-01-01T00:00:00Z"}, "until"),
        ({"rate_per_second": 0}, "rate_per_second"),
        ({"rate_per_second": 1001}, "rate_per_second"),
        ({"event_types": []}, "event_types"),
        ({"endpoint_id": "x"}, "endpoint_id"),
    ],
)
async def test_what_cannot_be_replayed_is_named(
    service: Service, merchant: Merchant, change: dict[str, Any], field: str
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, "https://example.com/")
    body = {"endpoint_id": endpoint["id"], "which": "failed", "since": SINCE, **change}
    refused = await service.send("POST", "/replays", merchant.partner_key, body)
    assert (refused.status, list(refused.body["errors"])) == (422, [field])


async def test_replays_are_listed_and_limited_in_number(database: Database, clock: HeldClock) -> None:
    async with running_service(database, clock, sends=False, replays=False) as service:
        merchant = await make_merchant(service.admin, clock())
        endpoint = await service.endpoint(merchant.partner_key, "https://example.com/")
        made = [await begin(service, merchant.partner_key, endpoint, "all") for _ in range(20)]
        body = {"endpoint_id": endpoint["id"], "which": "all", "since": SINCE}
        refused = await service.send("POST", "/replays", merchant.partner_key, body)
        assert (refused.status, refused.body["code"]) == (409, "too_many_replays")
        listed = await service.send("GET", f"/replays?limit=5&endpoint_id={endpoint['id']}", merchant.partner_key)
        assert [each["id"] for each in listed.data] == [each["id"] for each in reversed(made)][:5]
        assert listed.body["meta"]["next_cursor"]


async def test_one_owner_s_replays_leave_the_others_theirs(database: Database, clock: HeldClock) -> None:
    """A partner starts its maximum: its program and another partner can still start some."""
    async with running_service(database, clock, sends=False, replays=False) as service:
        merchant = await make_merchant(service.admin, clock())
        other = await make_partner(service.admin, merchant.program_id, merchant.program_key, "Other", clock())
        endpoint = await service.endpoint(merchant.partner_key, "https://example.com/")
        for _ in range(MAX_LIVE_REPLAYS):
            await begin(service, merchant.partner_key, endpoint, "all")
        for key in (merchant.program_key, other.partner_key):
            await begin(service, key, await service.endpoint(key, "https://example.com/"), "all")
        # Whichever key creates it, it counts for the owner of the endpoint.
        body = {"endpoint_id": endpoint["id"], "which": "all", "since": SINCE}
        refused = await service.send("POST", "/replays", merchant.program_key, body)
        assert (refused.status, refused.body["code"]) == (409, "too_many_replays")


async def test_slow_replays_of_one_owner_hold_up_nobody_else_s(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """A partner replays its dead letters one by one, with its maximum number of replays."""
    slow = await dead_ones(service, merchant, receiver, 500)
    for _ in range(MAX_LIVE_REPLAYS):
        await begin(service, merchant.partner_key, slow, "failed", rate_per_second=1)
    other = await make_merchant(service.admin, service.clock())
    quick = await dead_ones(service, other, receiver, 3)
    done = await ended(service, other.partner_key, await begin(service, other.partner_key, quick, "failed"))
    assert done["succeeded"] == 3
    listed = (await service.send("GET", "/replays", merchant.partner_key)).data
    assert {each["status"] for each in listed} == {"running"}


async def test_one_idempotency_key_begins_one_replay(service: Service, merchant: Merchant) -> None:
    """A retried request would send everything twice."""
    endpoint = await service.endpoint(merchant.partner_key, "https://example.com/")
    body = {"endpoint_id": endpoint["id"], "which": "all", "since": SINCE}
    first = await service.send("POST", "/replays", merchant.partner_key, body, idempotency="one")
    again = await service.send("POST", "/replays", merchant.partner_key, body, idempotency="one")
    assert (first.status, again.data["id"]) == (202, first.data["id"])
