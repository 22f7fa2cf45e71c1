"""Keeps a consumer's queue bound: a binding that was lost loses events in silence, and AMQP cannot list bindings."""

from shared.broker.connection import BrokerRefused
from shared.broker.topology import asking, binding, bindings_of


async def bind_again(url: str, queue: str) -> None:
    """Bind `queue` and its dead queue to what they belong to, which changes nothing where they are bound.

    Raises `BrokerRefused` naming all that were refused, after the others were bound, and `BrokerUnavailable` when the
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
