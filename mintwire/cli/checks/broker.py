"""Whether the broker answers, has everything declared, and delivers its messages."""

from __future__ import annotations

from collections.abc import Mapping

from mintwire.cli.checks.declared import check_declared
from mintwire.cli.checks.findings import Finding, fine, wrong
from mintwire.cli.checks.management import Management
from mintwire.stack.config import how_to_start
from shared.broker import topology
from shared.broker.connection import BrokerRefused, BrokerUnavailable
from shared.broker.operator.depths import Depth, depths
from shared.broker.topology import QUEUE_UNROUTED, UNROUTED_MAX_LENGTH, WORK_QUEUES, dead_queue

MOST_WAITING = 10_000

_DECLARE = "`mintwire doctor --fix`, or any service's `migrate`, declares what is missing"


async def check_broker(url: str, management_url: str | None, *, is_fixing: bool) -> list[Finding]:
    """Check the broker with the operator's rights; `is_fixing` first declares what is missing."""
    findings = await _over_amqp(url, is_fixing=is_fixing)
    if not findings[0].is_ok:
        return findings
    management = Management.of(management_url, url) if management_url else None
    return findings + await check_declared(management, is_fixing=is_fixing)


async def _over_amqp(url: str, *, is_fixing: bool) -> list[Finding]:
    try:
        findings = [await _declared(url)] if is_fixing else []
        absent = await topology.missing(url)
        found = await depths(url)
    except BrokerUnavailable as failed:
        return [
            wrong("broker answers", str(failed), f"start it ({how_to_start('rabbitmq')}), or correct MINTWIRE_AMQP_URL")
        ]
    findings.insert(0, fine("broker answers", "with the operator's URL"))
    findings.append(
        wrong("broker topology", f"missing: {', '.join(absent)}", _DECLARE)
        if absent
        else fine("broker topology", "complete")
    )
    for queue in WORK_QUEUES:
        findings += _work_queue(queue, found)
    return [*findings, *_unrouted(found)]


async def _declared(url: str) -> Finding:
    check = "declaring the topology"
    try:
        await topology.declare(url)
    except BrokerRefused as refused:
        return wrong(
            check, str(refused), "delete it by hand once it is empty, or with the rights of another user; then repeat"
        )
    return fine(check, "done")


def _work_queue(queue: str, found: Mapping[str, Depth | None]) -> list[Finding]:
    findings = []
    if (work := found.get(queue)) is not None:
        findings = [_consumers(queue, work), _waiting(queue, work)]
    if (dead := found.get(dead_queue(queue))) is not None:
        findings.append(_dead(queue, dead.messages))
    return findings


def _consumers(queue: str, work: Depth) -> Finding:
    check = f"{queue} is consumed"
    if work.consumers:
        return fine(check, f"consumers {work.consumers}")
    service = queue.partition(".")[0]
    return wrong(check, "it has no consumer", f"start {service}; it resumes consuming once it is ready")


def _waiting(queue: str, work: Depth) -> Finding:
    check = f"{queue} keeps up"
    if work.messages <= MOST_WAITING:
        return fine(check, f"messages waiting {work.messages}")
    service = queue.partition(".")[0]
    return wrong(check, f"messages waiting {work.messages}", f"see {service}'s log and metrics; start more replicas")


def _dead(queue: str, count: int) -> Finding:
    check = f"{dead_queue(queue)} is empty"
    if not count:
        return fine(check, "messages 0")
    remedy = (
        f"`mintwire dead list {queue}` shows why; then `mintwire dead replay {queue} --all`, "
        f"or `mintwire dead purge {queue} --all --yes`"
    )
    return wrong(check, f"messages {count}", remedy)


def _unrouted(found: Mapping[str, Depth | None]) -> list[Finding]:
    depth = found.get(QUEUE_UNROUTED)
    if depth is None:
        return []
    check = f"{QUEUE_UNROUTED} is empty"
    if not depth.messages:
        return [fine(check, "messages 0")]
    # Events that no queue is bound to, most often because a binding was lost.
    remedy = f"`mintwire doctor --fix` restores bindings; `mintwire dead list {QUEUE_UNROUTED}` shows the messages"
    full = ", and it is full: more events wait in the outboxes" if depth.messages >= UNROUTED_MAX_LENGTH else ""
    return [wrong(check, f"messages {depth.messages}{full}", remedy)]
