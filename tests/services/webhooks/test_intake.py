"""Events that two processes take in at the same moment, as after a consumer lost its connection while handling them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from services.webhooks.store import intake
from shared.database import inbox
from shared.faults import TransientFault
from tests.databases import Database
from tests.services.webhooks.conftest import HeldClock, Merchant, Service, code_redeemed, running_service
from tests.services.webhooks.receiver import Receiver

_SEQUENCES = "SELECT sequence FROM webhooks.deliveries ORDER BY sequence"


def meet(monkeypatch: pytest.MonkeyPatch, parties: int) -> list[int]:
    """Let the first lookup of each process see nothing of the other; return the list that counts all lookups."""
    find, looks, barrier = intake.find, [0], asyncio.Barrier(parties)

    async def find_together(*arguments: Any) -> Any:
        looks[0] += 1
        found = await find(*arguments)
        if looks[0] <= parties:
            await barrier.wait()
        return found

    monkeypatch.setattr(intake, "find", find_together)
    return looks


@pytest.mark.parametrize("ordering", ["none", "strict"])
async def test_what_two_take_in_at_once_is_one_delivery_each(
    database: Database,
    clock: HeldClock,
    service: Service,
    merchant: Merchant,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    ordering: str,
) -> None:
    """The same event would reach a receiver twice under different ids, which it cannot recognise."""
    await service.endpoint(merchant.partner_key, receiver.url, ordering=ordering)
    events = [code_redeemed(merchant, f"C{number}") for number in range(5)]
    async with running_service(database, clock) as other:
        looks = meet(monkeypatch, 2)
        outcomes = await asyncio.gather(service.consume(*events[:4]), other.consume(*events[1:]))
        await service.settled(5)
    # One of the two was too late, and looked up again.
    assert looks == [3]
    assert list(outcomes) == [[None] * 4, [None] * 4]
    assert len({post.id for post in receiver.posts}) == len(receiver.posts) == 5
    # The late one has used no numbers and reserved no room.
    assert [row["sequence"] for row in await service.query(_SEQUENCES)] == [1, 2, 3, 4, 5]


async def test_another_body_at_the_same_moment_is_a_conflict(
    database: Database,
    clock: HeldClock,
    service: Service,
    merchant: Merchant,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever body came first would silently win."""
    await service.endpoint(merchant.partner_key, receiver.url)
    event = code_redeemed(merchant, "C1")
    changed = type(event)(event.id, event.type, event.body.replace(b'"C1"', b'"C2"'))
    async with running_service(database, clock) as other:
        meet(monkeypatch, 2)
        outcomes = await asyncio.gather(service.consume(event), other.consume(changed))
        await service.settled(1)
    refused = [reject.reason for (reject,) in outcomes if reject is not None]
    assert refused == ["event_id_conflict"]
    assert len(receiver.posts) == 1


async def test_a_process_that_is_always_too_late_waits_and_keeps_no_room(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=1)
    event, insert_work = code_redeemed(merchant, "C1"), intake.insert_work

    async def too_late(*_: Any, **__: Any) -> Sequence[Any]:
        raise intake.RecordedMeanwhile

    monkeypatch.setattr(intake, "insert_work", too_late)
    with pytest.raises(TransientFault):
        await service.consume(event)
    monkeypatch.setattr(intake, "insert_work", insert_work)
    await service.consume(event)
    await service.settled(1)
    assert len(receiver.posts) == 1


@pytest.mark.parametrize("statement", [inbox.FIND_EVENTS, intake.FIND_EVENTS], ids=["shared", "webhooks"])
async def test_events_are_looked_up_by_the_index_however_small_the_inbox_was_at_first(
    database: Database, statement: str
) -> None:
    """Plans are cached; one made in a newly migrated database must still be good for a full one."""
    admin = await asyncpg.connect(database.admin)
    try:
        await admin.execute("SET search_path TO webhooks; SET plan_cache_mode = force_generic_plan")
        await admin.execute("PREPARE find AS " + statement)
        arguments = ", ".join(["NULL"] * (5 if "$5" in statement else 3))

        async def plan() -> str:
            return "\n".join([row[0] for row in await admin.fetch(f"EXPLAIN EXECUTE find ({arguments})")])

        plans = [await plan()]
        await admin.execute(
            "INSERT INTO inbox (program_id, source, event_id, body_sha256, received_at)"
            " SELECT gen_random_uuid(), 's', n::text, sha256('x'), now() FROM generate_series(1, 5000) AS n"
        )
        plans.append(await plan())
        await admin.execute("VACUUM ANALYZE inbox")
        plans.append(await plan())
        for each in plans:
            assert "Index Scan using inbox_pkey on inbox" in each, each
            assert "Seq Scan on inbox" not in each, each
    finally:
        await admin.close()
