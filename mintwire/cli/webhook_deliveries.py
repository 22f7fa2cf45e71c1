"""`mintwire webhook`: shows and resends messages, deliveries and attempts."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from mintwire.cli.client import address, call, fetch, fetch_page, given
from mintwire.cli.config import read_target
from mintwire.cli.output import (
    AsJSON,
    Counted,
    Cursor,
    Limit,
    bounded,
    command,
    show,
    show_many,
    show_page,
)
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
    count: Counted = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List deliveries, newest first.

    Example: mintwire webhook deliveries --status pending

    Parameters
    ----------
    endpoint
        Deliveries to this endpoint.
    status
        Deliveries with this status.
    event_type
        An event type, or a group such as code.*
    message
        Deliveries of this message, by the webhook-id that receivers see.
    code
        Deliveries about this promo code, in any spelling.
    since
        Created at or after this time, RFC 3339.
    """
    target = read_target()
    query = {
        "endpoint_id": endpoint,
        "status": status,
        "event_type": event_type,
        "message_id": message,
        "code": code,
        "since": since,
        "count": bounded(count),
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
    """Show deliveries live until Ctrl-C: each as it is created, and again after every attempt.

    By default, shows those of the partner; with `--program`, those of all endpoints of the program.

    Example: mintwire webhook tail --endpoint 0192… --count 1

    Parameters
    ----------
    endpoint
        Deliveries to this endpoint.
    status
        Deliveries with this status.
    event_type
        An event type, or a group such as code.*
    code
        Deliveries about this promo code, in any spelling.
    lines
        How many existing deliveries to show first.
    count
        Stop after this many lines.
    """
    target = read_target()
    query = {"endpoint_id": endpoint, "status": status, "event_type": event_type, "code": code}
    url, key = path(target, "deliveries"), key_of(target, program)
    with stopped_by_signals() as stop:
        await Tail(url, key, query, stop, lines=lines, count=count, as_json=as_json).follow()


@command
async def attempts(delivery_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """List the attempts of a delivery: time, duration, response of the receiver, and advice.

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
    """Send a delivery now, once, and show the result; exit code 1 if it failed.

    Example: mintwire webhook retry 0192…
    """
    target = read_target()
    attempt = await fetch("POST", path(target, "deliveries", delivery_id, "retry"), key=key_of(target, program))
    show(attempt, as_json)
    return 0 if attempt.get("outcome") == "succeeded" else 1


@command
async def cancel(delivery_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Cancel a pending delivery.

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
    """Replay failed, missed or all messages to an endpoint; wait until they are due and show the counts.

    Example: mintwire webhook replay 0192… --since 2026-03-18T00:00:00Z --dry-run

    Parameters
    ----------
    since
        Events received at or after this time, RFC 3339.
    which
        Dead letters, messages without a delivery, or everything.
    until
        Events received before this time; by default, now.
    dry_run
        Count without sending.
    rate
        Number of deliveries made due per second.
    no_wait
        Show the job without waiting for it.
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
    """List messages, newest first, independent of where they were sent.

    Example: mintwire webhook messages --event-type code.redeemed

    Parameters
    ----------
    event_type
        An event type, or a group such as code.*
    since
        Created at or after this time, RFC 3339.
    until
        Created before this time.
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
    """Send a message again, to the endpoints that had it or to those given.

    Example: mintwire webhook resend msg_0192… --endpoint 0192…

    Parameters
    ----------
    message_id
        The webhook-id that receivers see.
    endpoint
        Send it only to this endpoint; may be given several times.
    """
    target = read_target()
    url, body = path(target, "messages", message_id, "resend"), given(endpoint_ids=endpoint)
    answer = await call("POST", url, key=key_of(target, program), body=body)
    show_many(answer["data"], ("endpoint_id", "delivery_id", "is_due"), as_json)


COMMANDS = (deliveries, tail, attempts, retry, cancel, replay, messages, resend)
