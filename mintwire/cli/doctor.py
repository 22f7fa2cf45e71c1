"""`mintwire doctor`: looks at every part and says what is wrong and how to mend it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from mintwire.cli.checks.broker import check_broker
from mintwire.cli.checks.findings import Finding, fine, wrong
from mintwire.cli.checks.keys import check_keys
from mintwire.cli.checks.services import check_service
from mintwire.cli.config import Target, read_target
from mintwire.cli.output import AsJSON, command
from mintwire.terminal import write_json, write_line

_SERVICES = ("codes", "redemption", "webhooks")


@command
async def doctor(*, fix: Annotated[bool, Parameter(negative=())] = False, as_json: AsJSON = False) -> int:
    """Check every part, one line each; exit code 1 when anything is wrong, with how to mend it.

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
            remedy = f"; mend: {finding.remedy}" if finding.remedy else ""
            detail = " ".join(finding.detail.split())
            write_line(f"{'ok   ' if finding.is_ok else 'wrong'}  {finding.check}: {detail}{remedy}")
    return 0 if all(finding.is_ok for finding in findings) else 1


async def _findings(target: Target, *, is_fixing: bool) -> list[Finding]:
    parts = [check_service(name, target.values[f"{name}_url"]) for name in _SERVICES if f"{name}_url" in target.values]
    if "amqp_url" in target.values:
        parts.append(check_broker(target.amqp_url, target.get("management_url"), is_fixing=is_fixing))
    parts.append(check_keys(target))
    return [_told(target), *(finding for part in await asyncio.gather(*parts) for finding in part)]


def _told(target: Target) -> Finding:
    check = "where everything is"
    if missing := target.missing():
        return wrong(check, f"nobody tells {', '.join(missing)}", "`mintwire stack up`, or set these variables")
    return fine(check, str(target.stack_file) if target.is_stack_up else "the environment tells")
