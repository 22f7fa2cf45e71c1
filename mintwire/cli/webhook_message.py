"""`mintwire webhook message`: publishes, shows and redacts a message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from mintwire.cli.client import fetch, given
from mintwire.cli.config import read_target
from mintwire.cli.output import AsJSON, Misused, command, show
from mintwire.cli.webhook_calls import AsProgram, key_of, path

app = App(name="message", help="Publish custom events; show and redact messages.")


@app.command
@command
async def send(
    event_type: str,
    *,
    payload: str | None = None,
    file: Path | None = None,
    event_id: str | None = None,
    partner: str | None = None,
    ordering_key: str | None = None,
    occurred_at: str | None = None,
    retention_days: Annotated[int | None, Parameter(validator=Number(gte=5, lte=90))] = None,
    as_json: AsJSON = False,
) -> None:
    """Publish a custom event, to the program's endpoints and those of a given partner.

    Example: mintwire webhook message send custom.card.sent --payload '{"card_id": "a1b2c3d4"}' --event-id card-4711

    Parameters
    ----------
    event_type
        Your own name after `custom.`
    payload
        The content of the event, as a JSON object.
    file
        Alternatively, a file with the content, such as /dev/stdin.
    event_id
        Your own id of the event; it makes a repeat harmless.
    partner
        A partner who receives the event too.
    ordering_key
        Events with the same key are delivered in order.
    occurred_at
        When the event happened, RFC 3339; by default, now.
    retention_days
        How many days the message is stored.
    """
    members = given(
        event_type=event_type,
        payload=_payload(payload, file),
        event_id=event_id,
        partner_id=partner,
        ordering_key=ordering_key,
        occurred_at=occurred_at,
        retention_days=retention_days,
    )
    target = read_target()
    show(await fetch("POST", path(target, "messages"), key=target.program_key, body=members), as_json)


@app.command(name="show")
@command
async def show_message(message_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Show a message in full.

    Example: mintwire webhook message show msg_0192…

    Parameters
    ----------
    message_id
        The webhook-id that receivers see.
    """
    target = read_target()
    show(await fetch("GET", path(target, "messages", message_id), key=key_of(target, program)), as_json)


@app.command
@command
async def redact(message_id: str, *, as_json: AsJSON = False) -> None:
    """Redact the content of a message, as the program, and cancel its pending deliveries.

    Example: mintwire webhook message redact msg_0192…

    Parameters
    ----------
    message_id
        The webhook-id that receivers see.
    """
    target = read_target()
    url = path(target, "messages", message_id, "content")
    show(await fetch("DELETE", url, key=target.program_key), as_json)


def _payload(text: str | None, file: Path | None) -> dict[str, Any]:
    if (text is None) == (file is None):
        raise Misused("give the content: --payload or --file")
    try:
        value = json.loads(text or "" if file is None else file.read_bytes().decode())
    except (OSError, ValueError) as error:
        raise Misused(f"the payload cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise Misused("the payload must be a JSON object")
    return value
