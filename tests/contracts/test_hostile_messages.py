"""Thousands of hostile messages against the consumer of each service as it runs: it lives, works, and can be mended."""

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import aiormq
import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from scripts.event_documents import event_schemas
from scripts.event_examples import envelope_example
from shared.broker import given_up
from shared.broker.operator import dead
from shared.broker.operator.depths import depths
from shared.broker.publisher import Publisher
from shared.broker.topology import BINDINGS, dead_queue, replay_exchange
from shared.events.catalogue import PUBLISHED
from shared.events.envelope import OutboxEvent
from shared.ids import new_id
from tests import amqp
from tests.contracts.hostile_messages import Sent, hostile_messages
from tests.databases import Database
from tests.running import RunningService, running_services
from tests.servers import ROOT

# Enough for every part that messages are put together of to come twice or more.
MESSAGES = 2000
BATCH = 250
# To replay what failed.
SEED = "HOSTILE_SEED"
# Once for all queues, so that what the same number makes is made once.
NUMBER = int(os.environ.get(SEED, "0")) or random.SystemRandom().randrange(1, 2**32)
# The command itself purges this many letters; the others are purged in the same way, and inspected before.
PURGED_BY_COMMAND = 300


@dataclass(frozen=True)
class Target:
    """A queue, and the events that its service is there for: by exchange, a good one first."""

    queue: str
    types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def service(self) -> str:
        return self.queue.partition(".")[0]


TARGETS = (
    Target("redemption.checkout", {"checkout": ("checkout.completed", "checkout.cancelled", "checkout.refunded")}),
    Target("codes.redemptions", {"redemption": ("code.redeemed", "code.redemption_voided")}),
    Target(
        "webhooks.events",
        {
            exchange: tuple(model.type for model in PUBLISHED[exchange])
            for exchange in ("redemption", "codes", "webhooks")
        },
    ),
)


def examples() -> dict[str, dict[str, Any]]:
    """A valid event of each type."""
    schemas = {name: json.loads(text) for name, text in event_schemas().items()}
    return {
        model.type: envelope_example(model, schemas[f"{model.type}.v{model.version}.json"])
        for models in PUBLISHED.values()
        for model in models
    }


class Watched:
    """A running service as it is seen from outside."""

    def __init__(self, running: RunningService, queue: str) -> None:
        self.running = running
        self.queue = queue

    async def metric(self, name: str, **labels: str) -> float:
        async with aiohttp.ClientSession() as session, session.get(f"{self.running.url}/metrics") as response:
            families = list(text_string_to_metric_families(await response.text()))
        wanted = {"queue": self.queue, **labels}
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if wanted.items() <= sample.labels.items())

    async def done(self) -> int:
        return int(await self.metric("mintwire_messages_consumed_total", outcome="done"))

    def is_alive(self) -> bool:
        return self.running.process is not None and self.running.process.poll() is None


async def until_settled(watched: Watched, url: str, count: int) -> None:
    """Wait until this many messages are done or dead, by the consumer or, where they expired, by the broker.

    They are counted and not looked at: to look at thousands of letters costs more than all else here.
    """
    deadline = time.monotonic() + 240
    while (found := await watched.done() + await _lying_now(url, watched.queue)) < count:
        assert watched.is_alive(), watched.running.said()
        assert time.monotonic() < deadline, f"{found} of {count} settled\n{watched.running.said()}"
        await asyncio.sleep(0.5)


async def _lying_now(url: str, queue: str) -> int:
    [depth] = (await depths(url, [dead_queue(queue)])).values()
    assert depth is not None
    return depth.messages


async def dead_count(url: str, queue: str) -> int:
    """How many lie in the dead queue, with those that the service itself has in hand to look at."""
    return (await dead.count(url))[queue]


async def listed_letters(url: str, queue: str) -> tuple[int, list[dict[str, str]]]:
    """Return how many lie in the dead queue and what the command lists.

    The service looks at some now and then, and what it has in hand is in no list; then the command is asked again.
    """
    deadline = time.monotonic() + 120
    while True:
        lying = await dead_count(url, queue)
        listed = json.loads(await mintwire(url, "list", queue, "--limit", str(lying), "--json"))
        if len(listed) == lying or time.monotonic() > deadline:
            return lying, listed


async def send(url: str, messages: list[Sent]) -> None:
    """Publish everything; a message that the broker itself refuses would end the channel, and fail."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=False)
        for start in range(0, len(messages), BATCH):
            for each in messages[start : start + BATCH]:
                await amqp.publish(channel, [each.message], each.exchange, each.routing_key)
            # Answered behind what was sent, if the channel still lives.
            async with asyncio.timeout(60):
                await channel.basic_qos(prefetch_count=0)
    finally:
        await connection.close()


async def mintwire(url: str, *arguments: str) -> str:
    """Run the command as an operator does, and return what it prints."""
    environment = {**os.environ, "MINTWIRE_AMQP_URL": url, "PYTHONIOENCODING": "ascii"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mintwire", "dead", *arguments),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"{arguments}: {err.decode(errors='replace')[-2000:]}"
    return out.decode()


async def good_message_works(url: str, target: Target, database: Database) -> None:
    """The next good message is taken in."""
    [exchange, *_] = target.types
    good = target.types[exchange][0]
    event = {**examples()[good], "id": str(new_id())}
    async with Publisher(url, exchange) as publisher:
        outgoing = OutboxEvent(new_id(), good, json.dumps(event).encode())
        assert await publisher.publish_many([outgoing]) == {outgoing.id}
    connection = await asyncpg.connect(database.admin)
    try:
        async with asyncio.timeout(30):
            while not await connection.fetchval(  # noqa: ASYNC110 - the event is in another process
                f"SELECT count(*) FROM {target.service}.inbox WHERE event_id = $1",  # noqa: S608 - one of three names
                event["id"],
            ):
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.queue)
async def test_a_consumer_survives_every_message(
    target: Target, database: Database, clean_broker: dict[str, str]
) -> None:
    print(f"{SEED}={NUMBER}")  # noqa: T201 - to replay
    url = clean_broker["operator"]
    events = [each for name, each in examples().items() if any(name in types for types in target.types.values())]
    messages = hostile_messages(events, target.types, replay_exchange(target.queue), MESSAGES, NUMBER)
    assert len(messages) == MESSAGES
    async with running_services(database, clean_broker, names=[target.service]) as running:
        watched = Watched(running[target.service], target.queue)
        started = time.monotonic()
        await send(url, messages)
        await until_settled(watched, url, MESSAGES)
        print(f"{target.queue}: {time.monotonic() - started:.1f} s")  # noqa: T201 - for the reader of the output
        await good_message_works(url, target, database)
        # No connection was lost over any of them.
        assert await watched.metric("mintwire_consumer_reconnects_total") == 0
        await can_be_mended(watched, url, target, database)
        assert watched.is_alive()


async def can_be_mended(watched: Watched, url: str, target: Target, database: Database) -> None:
    """What lies in the dead queue can be listed, shown, replayed and purged, whatever it is."""
    lying, listed = await listed_letters(url, target.queue)
    assert len(listed) == lying
    assert all(letter["reason"] and letter["detail"] for letter in listed)
    reasons = Counter(letter["reason"] for letter in listed)
    print(dict(reasons))  # noqa: T201 - for the reader of the output
    # The sender's faults are named as such, and none is taken for ours.
    ours = {"handler_error", "rejected", "delivery_limit", "unknown"}
    assert [letter for letter in listed if letter["reason"] in ours] == []
    assert {"invalid_json", "invalid_envelope", "invalid_data", "expired"} <= set(reasons)
    assert len((await mintwire(url, "list", target.queue, "--limit", "300")).splitlines()) == 301
    shown = [key for key in dict.fromkeys(letter["key"] for letter in listed) if key.isprintable() and key[0] != "-"]
    for key in shown[:3]:
        assert json.loads(await mintwire(url, "show", target.queue, key, "--json"))["key"] == key
        assert (await mintwire(url, "show", target.queue, key)).startswith("key ")
    done = await watched.done()
    # By force: a hostile message may say that it came before all that is remembered.
    replayed = json.loads(await mintwire(url, "replay", target.queue, "--all", "--force", "--json"))
    assert replayed["replayed"] == lying
    await until_settled(watched, url, done + lying)
    await good_message_works(url, target, database)
    lying = await dead_count(url, target.queue)
    moved: list[bool] = []

    def look(letter: dead.DeadMessage) -> bool:
        moved.append(letter.is_moved_by_broker)
        return len(moved) > PURGED_BY_COMMAND

    purged = await dead.purge(url, target.queue, choice=look)
    # The service itself may have had some in hand to look at; and what was given back comes to the queue a moment late.
    assert len(moved) + given_up._LOOKED_AT >= lying
    assert not any(moved)
    while purged < lying:
        purged += (
            found := json.loads(await mintwire(url, "purge", target.queue, "--all", "--yes", "--json"))["purged"]
        )
        assert found, f"{purged} of {lying}"
    assert purged == lying


def test_the_queues_get_what_the_topology_gives_them() -> None:
    """A queue or a binding that is new must be added here."""
    bound: dict[str, set[str]] = {}
    for binding in BINDINGS:
        if binding.exchange in PUBLISHED:
            bound.setdefault(binding.queue, set()).add(binding.exchange)
    assert bound == {target.queue: set(target.types) for target in TARGETS}
