"""The broker's topology, as data, and its two operations: declare and check.

Services never declare: the migrate step does, with the operator's credentials. Services only check (`missing`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiormq.abc
from aiormq.exceptions import ChannelAccessRefused

from shared.broker.connection import BrokerRefused, connect, translated

VHOST: Final = "mintwire"
MESSAGE_LIMIT_BYTES: Final = 1024 * 1024
"""The size beyond which the broker refuses a message (`max_message_size`), if we configure it."""

EXCHANGE_CHECKOUT: Final = "checkout"
EXCHANGE_CODES: Final = "codes"
EXCHANGE_REDEMPTION: Final = "redemption"
EXCHANGE_WEBHOOKS: Final = "webhooks"
EXCHANGE_UNROUTED: Final = "unrouted"
EXCHANGE_DEAD: Final = "dead"

QUEUE_REDEMPTION_CHECKOUT: Final = "redemption.checkout"
QUEUE_CODES_REDEMPTIONS: Final = "codes.redemptions"
QUEUE_WEBHOOKS_EVENTS: Final = "webhooks.events"
QUEUE_UNROUTED: Final = "unrouted"

# A full queue refuses publishes, so events wait in their outbox instead of filling the broker's disk, which would
# stop every queue at once. Five million events of the usual 600 bytes are about 3 GB, a day at 58 a second.
WORK_QUEUE_MAX_LENGTH: Final = 5_000_000
UNROUTED_MAX_LENGTH: Final = 100_000
DELIVERY_LIMIT: Final = 50
# RabbitMQ 4 gives every quorum queue a delivery limit of 20 and drops what passes it. Looking into a dead queue
# counts as a delivery, so the queues that people look into get a limit that cannot be reached; -1 ("none") is
# refused by 3.10.
LOOKING_IS_FREE: Final = 1_000_000_000
_ANSWER_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable quorum queue."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """From an exchange to a queue; `routing_key` is the pattern."""

    exchange: str
    queue: str
    routing_key: str

    def __str__(self) -> str:
        by = f" by {self.routing_key}" if self.routing_key else ""
        return f"{self.queue} to {self.exchange}{by}"


def dead_queue(queue: str) -> str:
    """The queue for messages that the consumer of `queue` gave up."""
    return f"{queue}.dead"


def dead_exchange(queue: str) -> str:
    """The exchange to which the consumer of `queue` sends its dead letters; no outside user may write to it."""
    return f"dead.{queue}"


def replay_exchange(queue: str) -> str:
    """The exchange by which dead letters return to `queue`; no outside user may write to it."""
    return f"replay.{queue}"


def _event_exchange(name: str) -> Exchange:
    # An unbound event goes to `unrouted` instead of being returned, which would block its outbox row.
    return Exchange(name, "topic", {"alternate-exchange": EXCHANGE_UNROUTED})


def _work_queue(name: str) -> Queue:
    # At-least-once dead-lettering is only granted together with reject-publish.
    return Queue(
        name,
        {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": EXCHANGE_DEAD,
            "x-dead-letter-routing-key": name,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-max-length": WORK_QUEUE_MAX_LENGTH,
        },
    )


def _dead_queue(name: str) -> Queue:
    return Queue(dead_queue(name), {"x-queue-type": "quorum", "x-delivery-limit": LOOKING_IS_FREE})


WORK_QUEUES: Final = (QUEUE_REDEMPTION_CHECKOUT, QUEUE_CODES_REDEMPTIONS, QUEUE_WEBHOOKS_EVENTS)

# In the order of declaration: referenced objects come first.
EXCHANGES: Final = (
    Exchange(EXCHANGE_UNROUTED, "fanout"),
    Exchange(EXCHANGE_DEAD, "direct"),
    _event_exchange(EXCHANGE_CHECKOUT),
    _event_exchange(EXCHANGE_CODES),
    _event_exchange(EXCHANGE_REDEMPTION),
    _event_exchange(EXCHANGE_WEBHOOKS),
    # Our own headers are trusted only on messages through these exchanges: senders of events cannot write to them.
    *(Exchange(dead_exchange(name), "fanout") for name in WORK_QUEUES),
    *(Exchange(replay_exchange(name), "fanout") for name in WORK_QUEUES),
)

QUEUES: Final = (
    Queue(
        QUEUE_UNROUTED,
        {
            "x-queue-type": "quorum",
            "x-max-length": UNROUTED_MAX_LENGTH,
            "x-overflow": "drop-head",
            "x-delivery-limit": LOOKING_IS_FREE,
        },
    ),
    *(_dead_queue(name) for name in WORK_QUEUES),
    *(_work_queue(name) for name in WORK_QUEUES),
)

BINDINGS: Final = (
    Binding(EXCHANGE_UNROUTED, QUEUE_UNROUTED, ""),
    *(Binding(EXCHANGE_DEAD, dead_queue(name), name) for name in WORK_QUEUES),
    *(Binding(dead_exchange(name), dead_queue(name), "") for name in WORK_QUEUES),
    *(Binding(replay_exchange(name), name, "") for name in WORK_QUEUES),
    Binding(EXCHANGE_CHECKOUT, QUEUE_REDEMPTION_CHECKOUT, "checkout.completed"),
    Binding(EXCHANGE_CHECKOUT, QUEUE_REDEMPTION_CHECKOUT, "checkout.cancelled"),
    Binding(EXCHANGE_CHECKOUT, QUEUE_REDEMPTION_CHECKOUT, "checkout.refunded"),
    Binding(EXCHANGE_REDEMPTION, QUEUE_CODES_REDEMPTIONS, "code.redeemed"),
    Binding(EXCHANGE_REDEMPTION, QUEUE_CODES_REDEMPTIONS, "code.redemption_voided"),
    Binding(EXCHANGE_CODES, QUEUE_WEBHOOKS_EVENTS, "#"),
    Binding(EXCHANGE_REDEMPTION, QUEUE_WEBHOOKS_EVENTS, "#"),
    Binding(EXCHANGE_WEBHOOKS, QUEUE_WEBHOOKS_EVENTS, "#"),
)


def bindings_of(queue: str) -> list[Binding]:
    """The bindings that the consumer of `queue` renews: those of the queue, and its dead queue's to its own exchange.

    Bindings to `dead` are left out, since reading that exchange would expose the letters of other queues. The broker
    keeps what it cannot route there.
    """
    own = (queue, dead_queue(queue))
    return [binding for binding in BINDINGS if binding.queue in own and binding.exchange != EXCHANGE_DEAD]


class TopologyConflict(BrokerRefused):
    """Something on the broker has our name and other settings."""


async def declare(url: str) -> None:
    """Declare everything; safe to repeat.

    Raises `TopologyConflict` (one line, with the names) if something exists with other arguments, after all else
    was declared, and `BrokerUnavailable` when the broker cannot be reached.
    """
    wanted = [(f"exchange {each.name}", _declaring_exchange(each)) for each in EXCHANGES]
    wanted += [(f"queue {each.name}", _declaring_queue(each)) for each in QUEUES]
    wanted += [(f"binding {each}", binding(each)) for each in BINDINGS]
    conflicts = []
    async with asking(url, "mintwire topology") as ask:
        for thing, question in wanted:
            try:
                await ask(question)
            except BrokerRefused as exc:
                conflicts.append(f"{thing} cannot be declared: {exc}")
    if conflicts:
        raise TopologyConflict("; ".join(conflicts))


async def missing(url: str, exchanges: Iterable[str] | None = None, queues: Iterable[str] | None = None) -> list[str]:
    """What is missing, as lines like `queue redemption.checkout`; needs no permission to create anything.

    Without names it checks the whole topology. A service names what it uses, because RabbitMQ 4.3 and later refuses to
    report on things for which a user has no permission at all; such a refusal is listed too. Bindings cannot be seen
    over AMQP; declaring again restores them.
    """
    looks = [(f"exchange {name}", _looking_at_exchange(name)) for name in exchanges or ()]
    looks += [(f"queue {name}", _looking_at_queue(name)) for name in queues or ()]
    if exchanges is None and queues is None:
        looks = [(f"exchange {e.name}", _looking_at_exchange(e.name)) for e in EXCHANGES]
        looks += [(f"queue {q.name}", _looking_at_queue(q.name)) for q in QUEUES]
    async with asking(url, "mintwire topology") as ask:
        found = [(thing, await _problem(ask, question)) for thing, question in looks]
    return [f"{thing}{problem}" for thing, problem in found if problem is not None]


Question = Callable[[aiormq.abc.AbstractChannel], Awaitable[object]]
Ask = Callable[[Question], Awaitable[None]]


@asynccontextmanager
async def asking(url: str, name: str) -> AsyncIterator[Ask]:
    """Yield a function that asks the broker; a refusal closes the channel, so the next question gets a new one."""
    connection = await connect(url, name)
    channel: aiormq.abc.AbstractChannel | None = None

    async def ask(question: Question) -> None:
        nonlocal channel
        if channel is None or channel.is_closed:
            channel = await connection.channel(confirms=False)
        try:
            with translated():
                async with asyncio.timeout(_ANSWER_TIMEOUT_SECONDS):
                    await question(channel)
        except BrokerRefused:
            channel = None
            raise

    try:
        yield ask
    finally:
        await connection.close()


async def _problem(ask: Ask, question: Question) -> str | None:
    try:
        await ask(question)
    except BrokerRefused as exc:
        return " (no permission to look)" if isinstance(exc.__cause__, ChannelAccessRefused) else ""
    return None


def _declaring_exchange(exchange: Exchange) -> Question:
    return lambda channel: channel.exchange_declare(
        exchange.name, exchange_type=exchange.kind, durable=True, arguments=exchange.arguments
    )


def _declaring_queue(queue: Queue) -> Question:
    return lambda channel: channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)


def binding(wanted: Binding) -> Question:
    """The question that binds a queue; changes nothing if it is bound already."""
    return lambda channel: channel.queue_bind(wanted.queue, wanted.exchange, wanted.routing_key)


def _looking_at_exchange(name: str) -> Question:
    return lambda channel: channel.exchange_declare(name, passive=True)


def _looking_at_queue(name: str) -> Question:
    return lambda channel: channel.queue_declare(name, passive=True)
