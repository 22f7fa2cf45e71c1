"""`mintwire webhook`: an endpoint shown, changed, held back, switched off and on, and taken away."""

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
    """Change what you name of an endpoint, and show it as it is then.

    What may be empty is emptied by `--set`, such as `--set client_certificate=null`.

    Example: mintwire webhook change 0192… --url https://shop.example/new --rate-limit-per-second 20

    Example: mintwire webhook change 0192… --set 'schedule=[5, 60, 600]'

    Example: mintwire webhook change 0192… --client-certificate client.pem --client-key client.key

    Parameters
    ----------
    url
        Where webhooks are sent from now on.
    event_type
        The types that it gets from now on, all of them; may be given several times.
    format_
        How the bodies of messages from now on are written.
    signing
        By which algorithm messages are signed.
    no_rate_limit
        Take the limit per second away.
    """
    members = members or EndpointMembers()
    if no_rate_limit and members.rate_limit_per_second is not None:
        raise Misused("name either --rate-limit-per-second or --no-rate-limit")
    body = given(url=url, event_types=event_type, format=format_, signing=signing)
    body |= ({"rate_limit_per_second": None} if no_rate_limit else {}) | members.body()
    if not body:
        raise Misused("say what is to be changed; `mintwire webhook change --help` lists it")
    await _act("PATCH", endpoint_id, (), body, program, as_json)


@command
async def pause(
    endpoint_id: str, *, until: str | None = None, program: AsProgram = False, as_json: AsJSON = False
) -> None:
    """Hold an endpoint's deliveries back; they wait, and go out once it is resumed.

    Example: mintwire webhook pause 0192… --until 2030-07-31T06:00:00Z

    Parameters
    ----------
    until
        When it resumes by itself, RFC 3339.
    """
    await _act("POST", endpoint_id, ("pause",), given(until=until), program, as_json)


@command
async def resume(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """End an endpoint's pause; what has waited goes out.

    Example: mintwire webhook resume 0192…
    """
    await _act("POST", endpoint_id, ("resume",), None, program, as_json)


@command
async def disable(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Switch an endpoint off: it takes no more deliveries, and what is pending becomes dead letters.

    Example: mintwire webhook disable 0192…
    """
    await _act("POST", endpoint_id, ("disable",), None, program, as_json)


@command
async def enable(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Switch an endpoint on again, with a clean record.

    What it has missed meanwhile is sent by `mintwire webhook replay`.

    Example: mintwire webhook enable 0192…
    """
    await _act("POST", endpoint_id, ("enable",), None, program, as_json)


@command
async def delete(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Take an endpoint away for good and cancel what is pending for it; its deliveries stay readable.

    Example: mintwire webhook delete 0192…
    """
    await _act("DELETE", endpoint_id, (), None, program, as_json)


def add_to(app: App) -> None:
    """Add the commands to `mintwire webhook`; partners, coupons and codes have the second words for the same acts."""
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
