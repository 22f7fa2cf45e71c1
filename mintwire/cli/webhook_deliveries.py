"""`mintwire webhook`: messages, their deliveries and attempts, looked into and sent again."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from mintwire.cli.client import address, call, fetch, fetch_page, given
from mintwire.cli.config import read_target
from mintwire.cli.output import AsJSON, Cursor, Limit, command, show, show_many, show_page
from mintwire.cli.tailing import Tail
from mintwire.cli.waiting import stopped_by_signals
from mintwire.cli.webhook_calls import AsProgram, EventType, key_of, path
from mintwire.terminal import write_line

_POLL_SECONDS = 0.5
Status = Annotated[
    Literal["pending", "in_flight", "paused", "succeeded", "failed", "dead", "canceled"] | None,
    Parameter(negative=()),
]


@command
async def deliveries(
    *,
    endpoint: str | None = None,
    status: Status = None,
    event_type: str | None = None,
    message: str | None = None,
    code: str | None = None,
    since: str | None = None,
    program: AsProgram = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List deliveries, newest first.

    Example: mintwire webhook deliveries --status pending

    Parameters
    ----------
    endpoint
        Only those to this endpoint.
    status
        Only those that stand like this.
    event_type
        Only those of this type, or of a group such as code.*
    message
        Only those of this message, what receivers see as webhook-id.
    code
        Only those about this promo code, in any spelling.
    since
        Only those made from this time on, RFC 3339.
    """
    target = read_target()
    query = {
        "endpoint_id": endpoint,
        "status": status,
        "event_type": event_type,
        "message_id": message,
        "code": code,
        "since": since,
        "limit": limit,
        "cursor": cursor,
    }
    page = await fetch_page(path(target, "deliveries"), key=key_of(target, program), query=query)
    columns = ("id", "event_type", "status", "attempts_made", "last_status", "last_error_code", "next_attempt_at")
    show_page(page, columns, as_json)


@command
async def tail(
    *,
    endpoint: str | None = None,
    status: Status = None,
    event_type: str | None = None,
    code: str | None = None,
    lines: Annotated[int, Parameter(validator=Number(gte=0, lte=250))] = 10,
    count: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Show deliveries live until Ctrl-C: each as it comes, and again with every attempt that is made.

    With the partner's key those of the partner, with `--program` those of all endpoints of the program.

    Example: mintwire webhook tail --endpoint 0192… --count 1

    Parameters
    ----------
    endpoint
        Only those to this endpoint.
    status
        Only those that stand like this.
    event_type
        Only those of this type, or of a group such as code.*
    code
        Only those about this promo code, in any spelling.
    lines
        How many of those that are there to begin with.
    count
        Stop after so many lines.
    """
    target = read_target()
    query = {"endpoint_id": endpoint, "status": status, "event_type": event_type, "code": code}
    url, key = path(target, "deliveries"), key_of(target, program)
    with stopped_by_signals() as stop:
        await Tail(url, key, query, stop, lines=lines, count=count, as_json=as_json).follow()


@command
async def attempts(delivery_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """List the attempts of a delivery: when, how long, what the receiver answered, and what to do about it.

    Example: mintwire webhook attempts 0192…
    """
    target = read_target()
    page = await fetch_page(path(target, "deliveries", delivery_id, "attempts"), key=key_of(target, program))
    columns = ("number", "trigger", "started_at", "duration_ms", "status", "error_code", "remote_ip", "response")
    show_many(page.rows, columns, as_json)
    advice = {each["advice"]["text"] for each in page.rows if each.get("advice")}
    if not as_json:
        for text in sorted(advice):
            write_line(text)


@command
async def retry(delivery_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> int:
    """Send a delivery now, once, and show how it went; exit code 1 when it failed.

    Example: mintwire webhook retry 0192…
    """
    target = read_target()
    attempt = await fetch("POST", path(target, "deliveries", delivery_id, "retry"), key=key_of(target, program))
    show(attempt, as_json)
    return 0 if attempt.get("outcome") == "succeeded" else 1


@command
async def cancel(delivery_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Give a pending delivery up; nothing more is sent of it.

    Example: mintwire webhook cancel 0192…
    """
    target = read_target()
    show(await fetch("POST", path(target, "deliveries", delivery_id, "cancel"), key=key_of(target, program)), as_json)


@command
async def replay(
    endpoint_id: str,
    *,
    since: str,
    which: Annotated[Literal["failed", "missing", "all"], Parameter(negative=())] = "failed",
    until: str | None = None,
    event_type: EventType = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    rate: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 100,
    no_wait: Annotated[bool, Parameter(negative=())] = False,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Send again to an endpoint what failed, what it has missed, or all; wait until that is due and show the count.

    Example: mintwire webhook replay 0192… --since 2026-03-18T00:00:00Z --dry-run

    Parameters
    ----------
    since
        Of what came in from this time on, RFC 3339.
    which
        Dead letters; what never was on its way there; or everything.
    until
        And before this time; by default now.
    dry_run
        Only count.
    rate
        How many a second.
    no_wait
        Show the job and leave it to itself.
    """
    target = read_target()
    key = key_of(target, program)
    url = path(target, "replays")
    body = given(
        endpoint_id=endpoint_id,
        which=which,
        since=since,
        until=until,
        event_types=event_type,
        dry_run=dry_run,
        rate_per_second=rate,
    )
    job = await fetch("POST", url, key=key, body=body)
    while not no_wait and job["status"] in ("pending", "running"):
        await asyncio.sleep(_POLL_SECONDS)
        job = await fetch("GET", address(url, job["id"]), key=key)
    show(job, as_json)


@command
async def messages(
    *,
    event_type: str | None = None,
    since: str | None = None,
    until: str | None = None,
    program: AsProgram = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List messages, newest first: what was to be told, wherever it was sent.

    Example: mintwire webhook messages --event-type code.redeemed

    Parameters
    ----------
    event_type
        Only those of this type, or of a group such as code.*
    since
        Only those made from this time on, RFC 3339.
    until
        And before this time.
    """
    target = read_target()
    query = {"event_type": event_type, "since": since, "until": until, "limit": limit, "cursor": cursor}
    page = await fetch_page(path(target, "messages"), key=key_of(target, program), query=query)
    show_page(page, ("id", "event_type", "occurred_at", "partner_id", "redacted_at"), as_json)


@command
async def resend(
    message_id: str,
    *,
    endpoint: Annotated[list[str] | None, Parameter(negative=())] = None,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Send a message again, to all whom it was on its way to or to the endpoints that you name.

    Example: mintwire webhook resend msg_0192… --endpoint 0192…

    Parameters
    ----------
    message_id
        What receivers see as webhook-id.
    endpoint
        Only to this endpoint; may be given several times.
    """
    target = read_target()
    url, body = path(target, "messages", message_id, "resend"), given(endpoint_ids=endpoint)
    answer = await call("POST", url, key=key_of(target, program), body=body)
    show_many(answer["data"], ("endpoint_id", "delivery_id", "is_due"), as_json)


COMMANDS = (deliveries, tail, attempts, retry, cancel, replay, messages, resend)
