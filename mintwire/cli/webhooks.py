"""`mintwire webhook`: listen for webhooks, try endpoints, and replay deliveries that died."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from mintwire.cli.client import CallFailed, address, fetch, fetch_page, given
from mintwire.cli.config import Target, read_target
from mintwire.cli.listening import Listener, stopped_by_signals
from mintwire.cli.output import AsJSON, Cursor, Limit, Misused, command, show, show_page

app = App(name="webhook", help="Listen for webhooks, try endpoints, replay dead deliveries.")
dead = App(name="dead", help="Deliveries that used up their attempts.")
app.command(dead)

AsProgram = Annotated[
    bool, Parameter(name="--program", negative=(), help="As the program, whose key sees all its partners' endpoints.")
]
EventType = Annotated[
    list[str] | None, Parameter(negative=(), help="May be given several times; all types by default.")
]


@app.command
@command
async def listen(
    *,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 0,
    event_type: EventType = None,
    count: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Receive webhooks on this machine until Ctrl-C, verify and print each.

    Makes an endpoint for the time being and deletes it at the end. The webhooks service has to be able to reach this
    machine's 127.0.0.1, as that of the local stack is.

    Example: mintwire webhook listen --event-type code.redeemed --count 1

    Parameters
    ----------
    port
        Any free one by default.
    count
        Stop after so many.
    """
    target = read_target()
    url, key = address(target.webhooks_url, "v1", "webhooks", "endpoints"), _key(target, program)
    with stopped_by_signals() as stop:
        await Listener(url, key, count, stop, as_json).listen(port, event_type)


@app.command(name="list")
@command
async def list_(
    *, program: AsProgram = False, limit: Limit = 50, cursor: Cursor = None, as_json: AsJSON = False
) -> None:
    """List endpoints.

    Example: mintwire webhook list --program
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


def _dead_letters(target: Target) -> str:
    return address(target.webhooks_url, "v1", "webhooks", "dead-letters")


def _key(target: Target, is_program: bool) -> str:
    return target.program_key if is_program else target.partner_key
