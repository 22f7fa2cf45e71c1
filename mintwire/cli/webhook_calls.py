"""What the webhook commands share: options, the key and the URL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mintwire.cli.client import address
from mintwire.cli.config import Target
from mintwire.cli.output import Misused

AsProgram = Annotated[
    bool,
    Parameter(
        name="--program", negative=(), help="Act as the program, whose key sees the endpoints of all its partners."
    ),
]
Format = Literal["flat", "standard", "thin", "cloudevents"]
EventType = Annotated[
    list[str] | None,
    Parameter(
        negative=(), help="An event type, or a group such as code.*; may be given several times. By default, all."
    ),
]


def path(target: Target, *parts: str) -> str:
    """Return the URL of a path of the webhooks API."""
    return address(target.webhooks_url, "v1", "webhooks", *parts)


def key_of(target: Target, is_program: bool) -> str:
    """Return the key to call with."""
    return target.program_key if is_program else target.partner_key


def read_file(name: str) -> str:
    """Return the text of a file. Raises Misused."""
    try:
        return Path(name).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"{name} cannot be read: {error}") from error
