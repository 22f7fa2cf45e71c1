"""`mintwire webhook`: shows, changes, pauses, disables, enables and deletes an endpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from mintwire.cli.client import fetch, given
from mintwire.cli.config import read_target
from mintwire.cli.members import Flag, Many
from mintwire.cli.output import AsJSON, Misused, command, show
from mintwire.cli.webhook_calls import AsProgram, Format, key_of, path
from mintwire.cli.webhook_members import EndpointMembers


@command
async def show_endpoint(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Show an endpoint; its secret is not shown again.

    Example: mintwire webhook show 0192…
    """
    await _act("GET", endpoint_id, (), None, program, as_json)


@command
async def change(
    endpoint_id: str,
    *,
    url: str | None = None,
    event_type: Annotated[list[str] | None, Many] = None,
    format_: Annotated[Format | None, Parameter(name="--format", negative=())] = None,
    signing: Annotated[Literal["hmac", "ed25519", "both"] | None, Parameter(negative=())] = None,
    members: EndpointMembers | None = None,
    no_rate_limit: Annotated[bool, Flag] = False,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Change settings of an endpoint, and show it.

    `--set` clears optional members, such as `--set client_certificate=null`.

    Example: mintwire webhook change 0192… --url https://shop.example/new --rate-limit-per-second 20

    Example: mintwire webhook change 0192… --set 'schedule=[5, 60, 600]'

    Example: mintwire webhook change 0192… --client-certificate client.pem --client-key client.key

    Parameters
    ----------
    url
        The new URL.
    event_type
        The complete new list of event types; may be given several times.
    format_
        The format of new messages.
    signing
        The algorithm that messages are signed with.
    no_rate_limit
        Remove the limit per second.
    """
    members = members or EndpointMembers()
    if no_rate_limit and members.rate_limit_per_second is not None:
        raise Misused("give either --rate-limit-per-second or --no-rate-limit")
    body = given(url=url, event_types=event_type, format=format_, signing=signing)
    body |= ({"rate_limit_per_second": None} if no_rate_limit else {}) | members.body()
    if not body:
        raise Misused("give at least one change; `mintwire webhook change --help` lists them")
    await _act("PATCH", endpoint_id, (), body, program, as_json)


@command
async def pause(
    endpoint_id: str, *, until: str | None = None, program: AsProgram = False, as_json: AsJSON = False
) -> None:
    """Pause an endpoint: its deliveries wait until it is resumed.

    Example: mintwire webhook pause 0192… --until 2030-07-31T06:00:00Z

    Parameters
    ----------
    until
        When the pause ends by itself, RFC 3339.
    """
    await _act("POST", endpoint_id, ("pause",), given(until=until), program, as_json)


@command
async def resume(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Resume a paused endpoint; waiting deliveries are sent.

    Example: mintwire webhook resume 0192…
    """
    await _act("POST", endpoint_id, ("resume",), None, program, as_json)


@command
async def disable(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Disable an endpoint: it gets no more deliveries, and pending ones become dead letters.

    Example: mintwire webhook disable 0192…
    """
    await _act("POST", endpoint_id, ("disable",), None, program, as_json)


@command
async def enable(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Enable a disabled endpoint and reset its failure record.

    `mintwire webhook replay` sends what it has missed.

    Example: mintwire webhook enable 0192…
    """
    await _act("POST", endpoint_id, ("enable",), None, program, as_json)


@command
async def delete(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Archive an endpoint for good and cancel its pending deliveries; its deliveries stay readable.

    Example: mintwire webhook delete 0192…
    """
    await _act("DELETE", endpoint_id, (), None, program, as_json)


def add_to(app: App) -> None:
    """Add the commands to `mintwire webhook`, with the names that partners, coupons and codes use as aliases."""
    app.command(show_endpoint, name="show")
    app.command(change, name=("change", "update"))
    for each in (pause, resume, disable, enable):
        app.command(each)
    app.command(delete, name=("delete", "archive"))


async def _act(
    method: str,
    endpoint_id: str,
    further: tuple[str, ...],
    body: dict[str, object] | None,
    is_program: bool,
    as_json: bool,
) -> None:
    target = read_target()
    url = path(target, "endpoints", endpoint_id, *further)
    show(await fetch(method, url, key=key_of(target, is_program), body=body), as_json)
