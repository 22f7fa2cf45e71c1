"""Whether the command's keys are valid, and whether there are dead webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from mintwire.cli.checks.findings import MOST_SECONDS, Finding, fine, wrong
from mintwire.cli.client import CallFailed, address, call, fetch, fetch_page
from mintwire.cli.config import Target
from mintwire.cli.overflow import kept_letters, owner_of
from mintwire.stack.config import is_in_container
from shared.broker.topology import WORK_QUEUES, dead_queue

_MOST_COUNTED = 250
_OPERATOR, _PROGRAM, _PARTNER = "operator's token", "program's key", "partner's key"
_CHECKOUT, _PATH, _DEAD_LETTERS = "program's key at checkout", "codes reaches redemption", "no webhook is dead"


# The call that checks a key; raises `CallFailed`.
Act = Callable[[Target], Awaitable[Finding]]


@dataclass(frozen=True)
class KeyCheck:
    """A key checked at a service by a read-only call; `remedy` applies if the service refuses the key."""

    name: str
    service: str
    key: str
    act: Act
    remedy: str


async def check_keys(target: Target, astray: Mapping[str, str]) -> list[Finding]:
    """Check every configured key; `astray` names services that cannot be asked, with the reason."""
    known = [each for each in _CHECKS if f"{each.service}_url" in target.values and each.key in target.values]
    return await asyncio.gather(*(check_key(target, each, astray) for each in known))


async def check_key(target: Target, check: KeyCheck, astray: Mapping[str, str]) -> Finding:
    """Check one key; only a service that judged it blames it."""
    first = f"fix {check.service} first"
    if (reason := astray.get(check.service)) is not None:
        return wrong(check.name, f"not checked: {reason}", first)
    try:
        return await check.act(target)
    except CallFailed as failed:
        # If no service has judged a key, the service has to be fixed, not the key.
        is_judged = failed.status is not None and failed.status < 500
        return wrong(check.name, str(failed), check.remedy if is_judged else first)


async def _operator(target: Target) -> Finding:
    await _first(target.codes_url, "programs", target.operator_token)
    return fine(_OPERATOR, "valid")


async def _program(target: Target) -> Finding:
    await _first(target.codes_url, "partners", target.program_key)
    return fine(_PROGRAM, "valid")


async def _partner(target: Target) -> Finding:
    url = address(target.codes_url, "api", "partners", "quota")
    quota = await call("GET", url, partner_key=target.partner_key, seconds=MOST_SECONDS)
    return fine(_PARTNER, f"valid, codes left {quota.get('remaining')}")


async def _checkout(target: Target) -> Finding:
    await _first(target.redemption_url, "redemptions", target.program_key)
    return fine(_CHECKOUT, "valid")


async def _path(target: Target) -> Finding:
    url = address(target.codes_url, "v1", "redemption-path")
    found = await fetch("GET", url, key=target.program_key, seconds=MOST_SECONDS)
    # A key without the scope has still reached the right service.
    if found.get("state") in ("ok", "scope_missing"):
        return fine(_PATH, str(found.get("message")))
    remedy = "correct CODES_REDEMPTION_URL, the address of redemption, and restart codes"
    if not is_in_container():
        remedy += "; for a local stack run `mintwire stack down` and `mintwire stack up`"
    if found.get("state") in ("unreachable", "unavailable"):
        remedy = f"start redemption; if it serves already, {remedy}"
    return wrong(_PATH, str(found.get("message")), remedy)


async def _dead_letters(target: Target) -> Finding:
    url = address(target.webhooks_url, "v1", "webhooks", "dead-letters")
    page = await fetch_page(url, key=target.program_key, query={"limit": _MOST_COUNTED}, seconds=MOST_SECONDS)
    if not page.rows:
        return fine(_DEAD_LETTERS, "dead letters 0")
    remedy = (
        "`mintwire webhook dead list --program` shows why; `mintwire webhook dead replay --program --all` replays them"
    )
    count = f"dead letters {len(page.rows)}{' or more' if page.next_cursor else ''}"
    return wrong(_DEAD_LETTERS, count, remedy)


def _overflow(queue: str) -> KeyCheck:
    """Return the check that a dead queue has room, so that none of its letters are in the database."""
    name, service = f"{dead_queue(queue)} has room", owner_of(queue)

    async def act(target: Target) -> Finding:
        kept = await kept_letters(target, queue, MOST_SECONDS)
        if not kept:
            return fine(name, "letters in the database 0")
        remedy = f"replay or purge what `mintwire dead list {queue}` shows: the others return as the queue empties"
        return wrong(name, f"letters in the database, counted up to 10,000: {kept:,}", remedy)

    variable = f"{service.upper()}_OPERATOR_TOKEN"
    return KeyCheck(name, service, "operator_token", act, f"give {service} the token that the command has ({variable})")


async def _first(base: str, things: str, key: str) -> None:
    """Read a first page of minimal size."""
    await fetch_page(address(base, "v1", things), key=key, query={"limit": 1}, seconds=MOST_SECONDS)


_ANOTHER = "make another: `mintwire key create"
_CHECKS = (
    KeyCheck(
        _OPERATOR,
        "codes",
        "operator_token",
        _operator,
        "give the command the CODES_OPERATOR_TOKEN that codes was started with",
    ),
    KeyCheck(_PROGRAM, "codes", "program_key", _program, f"{_ANOTHER} --program ID`, with scope `manage`"),
    KeyCheck(_PARTNER, "codes", "partner_key", _partner, f"{_ANOTHER} --partner ID`, with scope `codes:read`"),
    KeyCheck(_CHECKOUT, "redemption", "program_key", _checkout, f"{_ANOTHER} --program ID`, with scope `checkout`"),
    KeyCheck(_PATH, "codes", "program_key", _path, f"{_ANOTHER} --program ID`, with scope `manage` or `checkout`"),
    KeyCheck(
        _DEAD_LETTERS,
        "webhooks",
        "program_key",
        _dead_letters,
        "it takes the webhooks service and a program's key with scope `webhooks`",
    ),
    *(_overflow(queue) for queue in WORK_QUEUES),
)
