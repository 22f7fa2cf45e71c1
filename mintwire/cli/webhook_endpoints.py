"""`mintwire webhook`: creates, tests and shows endpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from mintwire.cli.client import address, fetch, fetch_page, given
from mintwire.cli.config import read_target
from mintwire.cli.output import AsJSON, Cursor, Limit, command, show, show_page
from mintwire.cli.webhook_calls import AsProgram, EventType, Format, key_of, path
from mintwire.cli.webhook_members import EndpointMembers


@command
async def endpoints(
    *,
    status: Annotated[Literal["active", "paused", "disabled"] | None, Parameter(negative=())] = None,
    event_type: str | None = None,
    uid: str | None = None,
    program: AsProgram = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List endpoints.

    Example: mintwire webhook endpoints --program --event-type code.redeemed

    Parameters
    ----------
    status
        Endpoints with this status.
    event_type
        Endpoints subscribed to this event type, by name or otherwise.
    uid
        The endpoint with this name of yours.
    """
    target = read_target()
    query = {"status": status, "event_type": event_type, "uid": uid, "limit": limit, "cursor": cursor}
    page = await fetch_page(path(target, "endpoints"), key=key_of(target, program), query=query)
    show_page(page, ("id", "uid", "status", "url", "event_types", "disabled_reason"), as_json)


@command
async def send_test(
    endpoint_id: str, *, event_type: str | None = None, program: AsProgram = False, as_json: AsJSON = False
) -> int:
    """Send a test webhook to an endpoint and show the result; exit code 1 if it failed.

    Example: mintwire webhook test 0192… --event-type code.redeemed

    Parameters
    ----------
    event_type
        The event type whose example is sent; by default, a plain test.
    """
    target = read_target()
    url = path(target, "endpoints", endpoint_id, "test")
    body = given(event_type=event_type)
    attempt = await fetch("POST", url, key=key_of(target, program), body=body)
    show(attempt, as_json)
    return 0 if attempt.get("outcome") == "succeeded" else 1


@command
async def create(
    url: str,
    *,
    event_type: EventType = None,
    format_: Annotated[Format, Parameter(name="--format", negative=())] = "flat",
    signing: Annotated[Literal["hmac", "ed25519", "both"], Parameter(negative=())] = "hmac",
    members: EndpointMembers | None = None,
    partner: str | None = None,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Create an endpoint and show its secret, which is shown only once.

    Example: mintwire webhook create https://shop.example/hooks --event-type code.redeemed

    Example: mintwire webhook create https://shop.example/hooks --client-certificate client.pem --client-key client.key

    Parameters
    ----------
    url
        Where webhooks are sent: https, or in development also http to this machine.
    format_
        The format of the bodies.
    signing
        The algorithm that messages are signed with.
    partner
        With `--program`: the partner that owns the endpoint.
    """
    target = read_target()
    body = given(url=url, event_types=event_type, format=format_, signing=signing, partner_id=partner)
    body |= (members or EndpointMembers()).body()
    made_at = path(target, "endpoints")
    show(await fetch("POST", made_at, key=key_of(target, program), body=body), as_json)


@command
async def stats(
    endpoint_id: str,
    *,
    since: str | None = None,
    until: str | None = None,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Show statistics of an endpoint's deliveries; by default, of the last 24 hours.

    Example: mintwire webhook stats 0192… --since 2026-03-18T00:00:00Z

    Parameters
    ----------
    since
        Deliveries created at or after this time, RFC 3339.
    until
        Deliveries created before this time.
    """
    target = read_target()
    query = {"since": since, "until": until}
    url = path(target, "endpoints", endpoint_id, "stats")
    show(await fetch("GET", url, key=key_of(target, program), query=query), as_json)


@command
async def rules(*, as_json: AsJSON = False) -> None:
    """Show the rules by which webhooks are sent: schedule, timeouts, limits, when an endpoint is disabled.

    Example: mintwire webhook rules
    """
    show(await fetch("GET", address(read_target().webhooks_url, "v1", "meta")), as_json)


COMMANDS = (endpoints, create, stats, rules)
