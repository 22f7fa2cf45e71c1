"""Checks of the broker that AMQP does not allow: alarms, and whether it matches the topology."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mintwire.cli.checks.findings import Finding, fine, wrong
from mintwire.cli.checks.management import Management
from mintwire.cli.client import CallFailed
from shared.broker.policies import POLICIES, Policy
from shared.broker.topology import BINDINGS, EXCHANGES, QUEUES

_UNSEEN = wrong(
    "broker bindings",
    "not checked: AMQP does not list them, and the management API is not configured",
    "enable the plugin rabbitmq_management and set MINTWIRE_MANAGEMENT_URL, such as http://operator:password@host:15672",
)
_FIX = "`mintwire doctor --fix`"


@dataclass(frozen=True)
class Found:
    """What exists on the broker, as its management API lists it."""

    exchanges: list[dict[str, Any]]
    queues: list[dict[str, Any]]
    bindings: list[dict[str, Any]]
    policies: list[dict[str, Any]]


async def check_declared(management: Management | None, *, is_fixing: bool) -> list[Finding]:
    """Compare everything on the broker with the topology; `is_fixing` sets our policies first."""
    if management is None:
        return [_UNSEEN]
    check = "broker's management answers"
    try:
        findings = [_alarms(await management.alarms())]
        findings += [await _fixed(management)] if is_fixing else []
        found = await _look(management)
    except CallFailed as failed:
        remedy = "correct MINTWIRE_MANAGEMENT_URL, or give its user the tag `policymaker` (`rabbitmqctl set_user_tags`)"
        return [wrong(check, str(failed), remedy)]
    return [fine(check, management.base), *findings, *_bindings(found), *_policies(found), *_settings(found)]


def _alarms(alarms: Sequence[tuple[str, str]]) -> Finding:
    check = "broker alarms"
    if not alarms:
        return fine(check, "none")
    # The services' HTTP APIs work meanwhile.
    remedy = "give those nodes memory or disk; until then the broker accepts no messages, and events wait in the outbox"
    return wrong(check, ", ".join(f"{resource} on {node}" for resource, node in alarms), remedy)


async def _fixed(management: Management) -> Finding:
    for policy in POLICIES:
        await management.put_policy(policy)
    return fine("setting the policies", "done")


async def _look(management: Management) -> Found:
    return Found(
        await management.list("exchanges", "name", "type", "durable", "arguments"),
        await management.list("queues", "name", "durable", "arguments", "policy"),
        await management.list("bindings", "source", "destination", "destination_type", "routing_key"),
        await management.list("policies"),
    )


def _bindings(found: Found) -> Iterator[Finding]:
    known = {
        (each["source"], each["destination"], each["routing_key"])
        for each in found.bindings
        if each["destination_type"] == "queue"
    }
    missing = [each for each in BINDINGS if (each.exchange, each.queue, each.routing_key) not in known]
    check = "broker bindings"
    if not missing:
        yield fine(check, "complete")
        return
    # Consumers bind their queues again by themselves, so a binding still missing a minute later has a reason.
    remedy = f"{_FIX} binds them; then `mintwire events republish` sends what was missed"
    yield wrong(check, f"missing: {', '.join(map(str, missing))}", remedy)


def _policies(found: Found) -> Iterator[Finding]:
    known = {each["name"]: each for each in found.policies}
    faults = [fault for policy in POLICIES for fault in _policy_faults(policy, known.get(policy.name), found.queues)]
    check = "broker policies"
    if faults:
        yield wrong(
            check,
            "; ".join(faults),
            f"{_FIX} sets ours; remove a policy of yours that outranks it, or lower its priority",
        )
    else:
        yield fine(check, "complete")


def _policy_faults(policy: Policy, known: Mapping[str, Any] | None, queues: list[dict[str, Any]]) -> Iterator[str]:
    if known is None:
        yield f"missing: {policy.name}"
        return
    if any(known.get(name) != value for name, value in policy.body.items()):
        yield f"{policy.name} is not as it should be"
    for queue in queues:
        if queue["name"] in policy.queues and (other := queue.get("policy")) != policy.name:
            yield f"{queue['name']} follows {other or 'none'} in place of {policy.name}"


def _settings(found: Found) -> Iterator[Finding]:
    """Report what exists under our names with other settings, which declaring cannot fix."""
    exchanges = {each["name"]: (each["type"], each["durable"], each["arguments"]) for each in found.exchanges}
    queues = {each["name"]: (each["durable"], each["arguments"]) for each in found.queues}
    differing = [
        f"exchange {each.name}"
        for each in EXCHANGES
        if exchanges.get(each.name) not in (None, (each.kind, True, each.arguments))
    ]
    differing += [
        f"queue {each.name}" for each in QUEUES if queues.get(each.name) not in (None, (True, each.arguments))
    ]
    check = "broker settings"
    if differing:
        remedy = f"remove that by hand once it is empty; then {_FIX}"
        yield wrong(check, f"declared otherwise: {', '.join(differing)}", remedy)
    else:
        yield fine(check, "as declared")
