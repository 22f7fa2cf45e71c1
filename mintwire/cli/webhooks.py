"""`mintwire webhook`: listen for webhooks, make and try endpoints, look into deliveries, and send them again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from mintwire.cli.client import CallFailed, address, fetch, fetch_page, given
from mintwire.cli.config import Target, read_target
from mintwire.cli.listening import Listener, stopped_by_signals, usual_name
from mintwire.cli.output import (
    AsJSON,
    Cursor,
    Limit,
    Misused,
    command,
    show,
    show_json,
    show_many,
    show_page,
)

app = App(name="webhook", help="Listen for webhooks, make and try endpoints, look into deliveries, send again.")
dead = App(name="dead", help="Deliveries that used up their attempts.")
app.command(dead)

AsProgram = Annotated[
    bool, Parameter(name="--program", negative=(), help="As the program, whose key sees all its partners' endpoints.")
]
Format = Literal["flat", "standard", "thin", "cloudevents"]
_POLL_SECONDS = 0.5
EventType = Annotated[
    list[str] | None, Parameter(negative=(), help="May be given several times; all types by default.")
]


@app.command
@command
async def listen(
    *,
    forward_to: Annotated[str | None, Parameter(negative=())] = None,
    event_type: EventType = None,
    format_: Annotated[Format, Parameter(name="--format", negative=())] = "flat",
    count: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    name: Annotated[str | None, Parameter(negative=())] = None,
    from_now: Annotated[bool, Parameter(negative=())] = False,
    forget: Annotated[bool, Parameter(negative=())] = False,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Get webhooks live on this machine until Ctrl-C: each is verified, printed, and forwarded if you say where.

    Nothing has to reach this machine: the command asks the webhooks service, and goes on after a lost connection. What
    comes while it does not run waits for its next start, up to three days; the service keeps the place, by name.

    Example: mintwire webhook listen --forward-to http://127.0.0.1:3000/webhooks --event-type code.redeemed

    Parameters
    ----------
    forward_to
        The URL of your own receiver, such as one that you are writing. What it answers is shown and recorded.
    format_
        How the bodies are written.
    count
        Stop after so many.
    name
        Under which name the place is kept; by default one for this machine and what is asked for. Two that run at once
        under one name share what comes.
    from_now
        Begin with what comes from now on; what has waited is canceled.
    forget
        Close the listener at the end, so that nothing waits for it.
    """
    if forward_to is not None and not forward_to.startswith(("http://", "https://")):
        raise Misused("--forward-to needs a URL that begins with http:// or https://")
    target = read_target()
    url, key = address(target.webhooks_url, "v1", "webhooks", "listeners"), _key(target, program)
    with stopped_by_signals() as stop:
        listener = Listener(url, key, count, stop, as_json=as_json, forward_to=forward_to, forget=forget)
        known_as = name or usual_name(forward_to, event_type, format_)
        await listener.listen(known_as, event_type, format_, from_now=from_now)


@app.command
@command
async def endpoints(
    *, program: AsProgram = False, limit: Limit = 50, cursor: Cursor = None, as_json: AsJSON = False
) -> None:
    """List endpoints.

    Example: mintwire webhook endpoints --program
    """
    target = read_target()
    url = address(target.webhooks_url, "v1", "webhooks", "endpoints")
    page = await fetch_page(url, key=_key(target, program), query={"limit": limit, "cursor": cursor})
    show_page(page, ("id", "status", "url", "event_types", "disabled_reason"), as_json)


@app.command(name="test")
@command
async def send_test(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> int:
    """Send a test webhook to an endpoint and show how it went; exit code 1 when it failed.

    Example: mintwire webhook test 0192…
    """
    target = read_target()
    url = address(target.webhooks_url, "v1", "webhooks", "endpoints", endpoint_id, "test")
    attempt = await fetch("POST", url, key=_key(target, program))
    show(attempt, as_json)
    return 0 if attempt.get("outcome") == "succeeded" else 1


@app.command
@command
async def create(
    url: str,
    *,
    event_type: EventType = None,
    format_: Annotated[Format, Parameter(name="--format", negative=())] = "flat",
    signing: Annotated[Literal["hmac", "ed25519", "both"], Parameter(negative=())] = "hmac",
    description: str | None = None,
    partner: str | None = None,
    as_json: AsJSON = False,
    program: AsProgram = False,
) -> None:
    """Make an endpoint and show its secret, this once.

    Example: mintwire webhook create https://shop.example/hooks --event-type code.redeemed

    Parameters
    ----------
    url
        Where webhooks are sent: https, or in development http to this machine.
    format_
        How the bodies are written.
    signing
        By which algorithm messages are signed.
    partner
        With `--program`: the partner whose endpoint it is to be.
    """
    target = read_target()
    body = given(
        url=url,
        event_types=event_type,
        format=format_,
        signing=signing,
        description=description,
        partner_id=partner,
    )
    made_at = address(target.webhooks_url, "v1", "webhooks", "endpoints")
    show(await fetch("POST", made_at, key=_key(target, program), body=body), as_json)


@app.command
@command
async def rotate(
    endpoint_id: str,
    *,
    grace_seconds: Annotated[int, Parameter(validator=Number(gte=0, lte=604_800))] = 86_400,
    algorithm: Annotated[Literal["hmac", "ed25519"] | None, Parameter(negative=())] = None,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Give an endpoint a new signing key and show it, this once; the old one signs beside it for a while.

    Example: mintwire webhook rotate 0192… --grace-seconds 3600

    Parameters
    ----------
    grace_seconds
        For how long the old key signs too.
    algorithm
        Which key; all that sign by default.
    """
    target = read_target()
    body = given(grace_period_seconds=grace_seconds, algorithm=algorithm)
    url = address(target.webhooks_url, "v1", "webhooks", "endpoints", endpoint_id, "keys", "rotate")
    made = await fetch("POST", url, key=_key(target, program), body=body)
    show({name: made[name] for name in ("id", "signing", "secret", "public_key")}, as_json)


@dead.command(name="list")
@command
async def list_dead(
    *,
    endpoint: str | None = None,
    event_type: str | None = None,
    since: str | None = None,
    program: AsProgram = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List dead deliveries, newest first.

    Example: mintwire webhook dead list --since 2026-03-18T00:00:00Z

    Parameters
    ----------
    endpoint
        Only those to this endpoint.
    event_type
        Only those of this type.
    since
        Only those from this time on, RFC 3339.
    """
    target = read_target()
    query = {"endpoint_id": endpoint, "event_type": event_type, "since": since, "limit": limit, "cursor": cursor}
    page = await fetch_page(_dead_letters(target), key=_key(target, program), query=query)
    show_page(page, ("id", "endpoint_id", "event_type", "reason", "attempts_made", "last_status", "died_at"), as_json)


@dead.command(name="replay")
@command
async def replay_dead(
    *deliveries: str,
    all_: Annotated[bool, Parameter(name="--all", negative=())] = False,
    endpoint: str | None = None,
    event_type: str | None = None,
    since: str | None = None,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Make dead deliveries due again, once the receiver works.

    Example: mintwire webhook dead replay --all --endpoint 0192…

    Parameters
    ----------
    deliveries
        Which, as `webhook dead list` shows them; or `--all`.
    all_
        All of them, or of those that the filters mean, up to 10,000 at a time.
    endpoint
        With `--all`: only those to this endpoint.
    event_type
        With `--all`: only those of this type.
    since
        With `--all`: only those from this time on, RFC 3339.
    """
    target = read_target()
    filters = given(endpoint_id=endpoint, event_type=event_type, since=since)
    if bool(deliveries) == all_:
        raise Misused("say which: deliveries, or --all")
    if deliveries and filters:
        raise Misused("filters go with --all")
    url, key = _dead_letters(target), _key(target, program)
    if all_:
        show(await fetch("POST", address(url, "replay"), key=key, body=filters), as_json)
        return
    for done, delivery in enumerate(deliveries):
        try:
            await fetch("POST", address(url, delivery, "replay"), key=key)
        except CallFailed as refused:
            raise CallFailed(f"{delivery}: {refused}; {done} replayed before it", refused.status) from refused
    show({"replayed": len(deliveries)}, as_json)


@app.command
@command
async def deliveries(
    *,
    endpoint: str | None = None,
    status: Annotated[
        Literal["pending", "succeeded", "failed", "dead", "canceled"] | None, Parameter(negative=())
    ] = None,
    event_type: str | None = None,
    message: str | None = None,
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
        Only those of this type.
    message
        Only those of this message, what receivers see as webhook-id.
    since
        Only those made from this time on, RFC 3339.
    """
    target = read_target()
    query = {
        "endpoint_id": endpoint,
        "status": status,
        "event_type": event_type,
        "message_id": message,
        "since": since,
        "limit": limit,
        "cursor": cursor,
    }
    page = await fetch_page(_deliveries(target), key=_key(target, program), query=query)
    columns = ("id", "event_type", "status", "attempts_made", "last_status", "last_error_code", "next_attempt_at")
    show_page(page, columns, as_json)


@app.command
@command
async def attempts(delivery_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """List the attempts of a delivery: when, how long, and what the receiver answered.

    Example: mintwire webhook attempts 0192…
    """
    target = read_target()
    page = await fetch_page(address(_deliveries(target), delivery_id, "attempts"), key=_key(target, program))
    columns = ("number", "trigger", "started_at", "duration_ms", "status", "error_code", "remote_ip", "response")
    show_many(page.rows, columns, as_json)


@app.command
@command
async def retry(delivery_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> int:
    """Send a delivery now, once, and show how it went; exit code 1 when it failed.

    Example: mintwire webhook retry 0192…
    """
    target = read_target()
    attempt = await fetch("POST", address(_deliveries(target), delivery_id, "retry"), key=_key(target, program))
    show(attempt, as_json)
    return 0 if attempt.get("outcome") == "succeeded" else 1


@app.command
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
    key = _key(target, program)
    url = address(target.webhooks_url, "v1", "webhooks", "replays")
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


@app.command
@command
async def verify(
    body: str,
    *,
    webhook_id: str,
    timestamp: str,
    signature: str,
    endpoint: str | None = None,
    secret: str | None = None,
    tolerance_seconds: Annotated[int, Parameter(validator=Number(gte=0))] = 300,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> int:
    """Verify a webhook as a receiver has to, and say what is wrong with it; exit code 1 when it does not verify.

    Example: mintwire webhook verify body.json --webhook-id msg_… --timestamp 17… --signature v1,… --endpoint 0192…

    Parameters
    ----------
    body
        The file with the raw body, such as /dev/stdin.
    webhook_id
        The header webhook-id.
    timestamp
        The header webhook-timestamp.
    signature
        The header webhook-signature.
    endpoint
        Verify with the live keys of this endpoint.
    secret
        Or with this key: whsec_ or whpk_.
    tolerance_seconds
        How old it may be.
    """
    if (endpoint is None) == (secret is None):
        raise Misused("say with which key: --endpoint or --secret")
    text = _read(body)
    target = read_target()
    headers = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    check = given(headers=headers, body=text, endpoint_id=endpoint, key=secret, tolerance_seconds=tolerance_seconds)
    url = address(target.webhooks_url, "v1", "webhooks", "verify-signature")
    found = await fetch("POST", url, key=_key(target, program), body=check)
    if as_json:
        show_json(found)
    else:
        print("verified" if found["valid"] else "not verified")
        for problem in found["problems"]:
            print(f"{problem['code']}: {problem['hint']}")
    return 0 if found["valid"] else 1


def _read(name: str) -> str:
    try:
        return Path(name).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"{name} cannot be read: {error}") from error


def _deliveries(target: Target) -> str:
    return address(target.webhooks_url, "v1", "webhooks", "deliveries")


def _dead_letters(target: Target) -> str:
    return address(target.webhooks_url, "v1", "webhooks", "dead-letters")


def _key(target: Target, is_program: bool) -> str:
    return target.program_key if is_program else target.partner_key
