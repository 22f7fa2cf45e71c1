"""`mintwire doctor`: checks every part, and shows what is wrong and how to fix it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from mintwire.cli.broker_command import broker_command
from mintwire.cli.checks.broker import check_broker
from mintwire.cli.checks.findings import Finding, fine, wrong
from mintwire.cli.checks.keys import check_keys
from mintwire.cli.checks.processes import check_processes, log_of
from mintwire.cli.checks.services import check_addresses, look_at
from mintwire.cli.config import Target, read_target
from mintwire.cli.output import AsJSON
from mintwire.stack.config import how_to_start
from mintwire.terminal import write_json, write_line

_SERVICES = ("codes", "redemption", "webhooks")


@broker_command
async def doctor(*, fix: Annotated[bool, Parameter(negative=())] = False, as_json: AsJSON = False) -> int:
    """Check every part, one line each; exit code 1 if anything is wrong, with how to fix it.

    Example: mintwire doctor --fix

    Parameters
    ----------
    fix
        Declare what is missing on the broker: exchanges, queues, bindings, policies.
    """
    findings = await _findings(read_target(), is_fixing=fix)
    if as_json:
        write_json({"is_ok": all(finding.is_ok for finding in findings), "checks": [asdict(each) for each in findings]})
    else:
        for finding in findings:
            remedy = f"; fix: {finding.remedy}" if finding.remedy else ""
            detail = " ".join(finding.detail.split())
            write_line(f"{'ok   ' if finding.is_ok else 'wrong'}  {finding.check}: {detail}{remedy}")
    return 0 if all(finding.is_ok for finding in findings) else 1


async def _findings(target: Target, *, is_fixing: bool) -> list[Finding]:
    services, broker = await asyncio.gather(_services(target), _broker(target, is_fixing=is_fixing))
    return [_configuration(target), *check_processes(target), *services, *broker]


async def _services(target: Target) -> list[Finding]:
    """Check the services, and try the keys at those that can answer."""
    known = [name for name in _SERVICES if f"{name}_url" in target.values]
    looked = await asyncio.gather(
        *(look_at(name, target.values[f"{name}_url"], log_of(target, name)) for name in known)
    )
    findings = [finding for look in looked for finding in look.findings]
    astray = {look.name: look.astray for look in looked if look.astray is not None}
    return [*check_addresses(looked), *findings, *await check_keys(target, astray)]


async def _broker(target: Target, *, is_fixing: bool) -> list[Finding]:
    if "amqp_url" not in target.values:
        return []
    return await check_broker(target.amqp_url, target.get("management_url"), is_fixing=is_fixing)


def _configuration(target: Target) -> Finding:
    check = "configuration"
    if missing := target.missing():
        return wrong(check, f"not configured: {', '.join(missing)}", f"{how_to_start()}, or set these variables")
    return fine(check, str(target.stack_file) if target.is_stack_up else "from the environment")
