"""Members of a request besides a command's own options: `--set NAME=VALUE`, as often as needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from mintwire.cli.output import Misused

Set = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative=(),
        help="Any other member of the API, as NAME=VALUE; VALUE is JSON, or else text. May be given several times.",
    ),
]
Many = Parameter(negative=())
Flag = Parameter(negative=())


def assigned(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Return the members given by `--set`; raises `Misused`."""
    members = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Misused(f"--set takes NAME=VALUE, not {pair!r}")
        members[name] = _value(text)
    return members


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
