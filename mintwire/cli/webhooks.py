"""`mintwire webhook`: listens for webhooks and verifies them; other modules add the rest."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from mintwire.cli import (
    webhook_changes,
    webhook_dead,
    webhook_deliveries,
    webhook_endpoints,
    webhook_keys,
    webhook_message,
)
from mintwire.cli.client import fetch, given
from mintwire.cli.config import read_target
from mintwire.cli.listening import Listener, usual_name
from mintwire.cli.output import AsJSON, Misused, command
from mintwire.cli.waiting import stopped_by_signals
from mintwire.cli.webhook_calls import AsProgram, EventType, Format, key_of, path, read_file
from mintwire.terminal import write_json, write_line

app = App(name="webhook")
app.command(webhook_dead.app)
app.command(webhook_message.app)
for each in (*webhook_endpoints.COMMANDS, *webhook_keys.COMMANDS, *webhook_deliveries.COMMANDS):
    app.command(each)
app.command(webhook_endpoints.send_test, name="test")
webhook_changes.add_to(app)


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
    """Receive webhooks live on this machine until Ctrl-C: each is verified, printed and optionally forwarded.

    This machine needs no public address: the command polls the webhooks service, and continues after a lost connection.
    Messages that arrive while it is not running wait for its next start, up to three days.

    Example: mintwire webhook listen --forward-to http://127.0.0.1:3000/webhooks --event-type code.redeemed

    Parameters
    ----------
    forward_to
        The URL of your own receiver, such as one that you are developing. Its responses are shown and recorded.
    format_
        The format of the bodies.
    count
        Stop after this many messages.
    name
        The name of the listener; by default, derived from this machine and the options. Two that run at once under the
        same name share the messages.
    from_now
        Start with new messages; waiting ones are canceled.
    forget
        Close the listener at the end, so that no messages wait for it.
    """
    if forward_to is not None and not forward_to.startswith(("http://", "https://")):
        raise Misused("--forward-to must be a URL that begins with http:// or https://")
    target = read_target()
    url, key = path(target, "listeners"), key_of(target, program)
    with stopped_by_signals() as stop:
        listener = Listener(url, key, count, stop, as_json=as_json, forward_to=forward_to, forget=forget)
        known_as = name or usual_name(forward_to, event_type, format_)
        await listener.listen(known_as, event_type, format_, from_now=from_now)


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
    """Verify a webhook as a receiver does, and explain what is wrong; exit code 1 if it fails.

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
        Verify with the active keys of this endpoint.
    secret
        Verify with this key: whsec_ or whpk_.
    tolerance_seconds
        The maximum age.
    """
    if (endpoint is None) == (secret is None):
        raise Misused("give a key: --endpoint or --secret")
    text = read_file(body)
    target = read_target()
    headers = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    check = given(headers=headers, body=text, endpoint_id=endpoint, key=secret, tolerance_seconds=tolerance_seconds)
    url = path(target, "verify-signature")
    found = await fetch("POST", url, key=key_of(target, program), body=check)
    if as_json:
        write_json(found)
    else:
        write_line("verified" if found["valid"] else "not verified")
        for problem in found["problems"]:
            write_line(f"{problem['code']}: {problem['hint']}")
    return 0 if found["valid"] else 1
