"""Keeps a consumer's queue bound: a lost binding loses events silently, and AMQP cannot list bindings."""

from shared.broker.connection import BrokerRefused
from shared.broker.topology import asking, binding, bindings_of


async def bind_again(url: str, queue: str) -> None:
    """Bind `queue` and its dead queue; changes nothing where they are bound already.

    Raises `BrokerRefused`, naming every refused binding, after the others were made, and `BrokerUnavailable` when the
    broker cannot be reached.
    """
    refused = []
    async with asking(url, f"bindings of {queue}") as ask:
        for each in bindings_of(queue):
            try:
                await ask(binding(each))
            except BrokerRefused as exc:
                refused.append(f"{each}: {exc}")
    if refused:
        raise BrokerRefused(f"Not bound: {'; '.join(refused)}")
