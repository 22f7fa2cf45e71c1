"""Whether the keys that the command was told are good, and whether webhooks lie dead."""

from __future__ import annotations

import asyncio

from mintwire.cli.checks.findings import MOST_SECONDS, Finding, fine, wrong
from mintwire.cli.client import CallFailed, address, call, fetch_page
from mintwire.cli.config import Target

_FIRST = {"limit": 1}
_MOST_COUNTED = 250


async def check_keys(target: Target) -> list[Finding]:
    """Try every key that is known on a call that changes nothing."""
    checks = []
    if "codes_url" in target.values:
        if "operator_token" in target.values:
            checks.append(_operator(target))
        if "program_key" in target.values:
            checks.append(_program(target))
        if "partner_key" in target.values:
            checks.append(_partner(target))
    if "redemption_url" in target.values and "program_key" in target.values:
        checks.append(_checkout(target))
    if "webhooks_url" in target.values and "program_key" in target.values:
        checks.append(_dead_letters(target))
    return await asyncio.gather(*checks)


def _failed(check: str, failed: CallFailed, service: str, remedy: str) -> Finding:
    """Of a key that nobody judged nothing is known: then the service is to be mended, not the key."""
    is_judged = failed.status is not None and failed.status < 500
    return wrong(check, str(failed), remedy if is_judged else f"see to {service} first")


async def _operator(target: Target) -> Finding:
    check = "operator's token"
    try:
        await fetch_page(
            address(target.codes_url, "v1", "programs"), key=target.operator_token, query=_FIRST, seconds=MOST_SECONDS
        )
    except CallFailed as failed:
        return _failed(check, failed, "codes", "give the command the CODES_OPERATOR_TOKEN that codes was started with")
    return fine(check, "valid")


async def _program(target: Target) -> Finding:
    check = "program's key"
    try:
        await fetch_page(
            address(target.codes_url, "v1", "partners"), key=target.program_key, query=_FIRST, seconds=MOST_SECONDS
        )
    except CallFailed as failed:
        return _failed(check, failed, "codes", "make another: `mintwire key create --program ID`, with scope `manage`")
    return fine(check, "valid")


async def _partner(target: Target) -> Finding:
    check = "partner's key"
    try:
        quota = await call(
            "GET",
            address(target.codes_url, "api", "partners", "quota"),
            partner_key=target.partner_key,
            seconds=MOST_SECONDS,
        )
    except CallFailed as failed:
        return _failed(
            check, failed, "codes", "make another: `mintwire key create --partner ID`, with scope `codes:read`"
        )
    return fine(check, f"valid, codes left {quota.get('remaining')}")


async def _checkout(target: Target) -> Finding:
    check = "program's key at checkout"
    try:
        await fetch_page(
            address(target.redemption_url, "v1", "redemptions"),
            key=target.program_key,
            query=_FIRST,
            seconds=MOST_SECONDS,
        )
    except CallFailed as failed:
        return _failed(
            check, failed, "redemption", "make another: `mintwire key create --program ID`, with scope `checkout`"
        )
    return fine(check, "valid")


async def _dead_letters(target: Target) -> Finding:
    check = "no webhook is dead"
    url = address(target.webhooks_url, "v1", "webhooks", "dead-letters")
    try:
        page = await fetch_page(url, key=target.program_key, query={"limit": _MOST_COUNTED}, seconds=MOST_SECONDS)
    except CallFailed as failed:
        return _failed(
            check, failed, "webhooks", "it takes the webhooks service and a program's key with scope `webhooks`"
        )
    if not page.rows:
        return fine(check, "dead letters 0")
    remedy = "`mintwire webhook dead list --program` tells why; `mintwire webhook dead replay --program --all` repeats"
    return wrong(check, f"dead letters {len(page.rows)}{' or more' if page.next_cursor else ''}", remedy)
