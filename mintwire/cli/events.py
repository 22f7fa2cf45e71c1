"""`mintwire events`: republishes what the services have published, after a lost binding or a wiped broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated

from cyclopts import App, Parameter

from mintwire.cli.broker_command import broker_command
from mintwire.cli.config import read_target
from mintwire.cli.event_history import Published, published, services_of
from mintwire.cli.output import AsJSON, Misused, show
from mintwire.cli.republishing import Republishing
from shared.broker.topology import BINDINGS, EXCHANGE_CHECKOUT, WORK_QUEUES
from shared.clock import utc_now
from shared.times import format_milliseconds

app = App(name="events")

_BATCH = 100
_EVERYTHING = "#"
# The exchanges that our services publish to; checkouts keep no history here.
_FROM_CHECKOUTS = {each.queue for each in BINDINGS if each.exchange == EXCHANGE_CHECKOUT}
_OWN_QUEUES = tuple(queue for queue in WORK_QUEUES if queue not in _FROM_CHECKOUTS)


@app.command
@broker_command
async def republish(
    *,
    since: str,
    until: str | None = None,
    type_: Annotated[str | None, Parameter(name="--type")] = None,
    program: str | None = None,
    to: str | None = None,
    rate: int = 500,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    as_json: AsJSON = False,
) -> None:
    """Republish events unchanged, with the same ids: consumers that have processed them skip them.

    If interrupted, it prints where to continue; starting again does no harm.

    Example: mintwire events republish --type code.redeemed --since 2026-03-18T00:00:00Z --to webhooks.events

    Parameters
    ----------
    since
        Events at or after this time, RFC 3339.
    until
        Events up to this time; by default, now.
    type_
        Events of this type, or of a group such as code.*
    program
        Events of this program.
    to
        Send them only to this queue, if it is bound to them; by default, to every queue as the first time.
    rate
        Maximum number per second, so that new events do not wait behind old ones.
    dry_run
        Only count the events.
    """
    target, services, is_wanted = read_target(), services_of(type_), _wanted_by(to)
    if rate < 1:
        raise Misused("--rate must be at least 1")
    query = {"type": type_, "program_id": program, "since": since, "until": until or format_milliseconds(utc_now())}
    found = published(target, services, {**query, "bodies": "false" if dry_run else "true"})
    counts: Counter[str] = Counter()
    if dry_run:
        async for each in found:
            counts[each.event.type] += is_wanted(each)
        show({"matched": counts.total(), "types": dict(+counts)}, as_json)
        return
    async with Republishing(target.amqp_url, to, rate) as republishing:
        batch: list[Published] = []
        async for each in found:
            if is_wanted(each):
                batch.append(each)
            if len(batch) == _BATCH:
                await republishing.publish(batch)
                batch = []
        await republishing.publish(batch)
    show({"published": republishing.counts.total(), "types": dict(republishing.counts)}, as_json)


def _wanted_by(queue: str | None) -> Callable[[Published], bool]:
    """Return a test whether a queue is bound to an event: sent past the exchange, it would get any."""
    if queue is None:
        return lambda _: True
    if queue not in _OWN_QUEUES:
        own = " or ".join(_OWN_QUEUES)
        raise Misused(f"--to takes {own}; checkouts must republish their own events")
    bound = {(each.exchange, each.routing_key) for each in BINDINGS if each.queue == queue}
    return lambda each: not bound.isdisjoint({(each.service, each.event.type), (each.service, _EVERYTHING)})
