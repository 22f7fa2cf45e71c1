"""Parses a verified body in any format of the endpoint: flat, standard, thin or cloudevents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mintwire_receiver.signatures import Refused

_OUTER = ("type", "timestamp", "sequence", "data")
# More digits than any sequence number has.
_LONGEST = 19


@dataclass(frozen=True)
class Message:
    """A webhook. `id` is the same in every attempt; `data` is the content of the event, `body` everything as sent.

    `sequence` numbers the messages of a partner in the order of their events, so that a later attempt of an older
    message does not overwrite newer facts; None if the sender did not include it.
    """

    id: str
    type: str
    timestamp: int
    sequence: int | None
    data: Mapping[str, Any]
    body: Mapping[str, Any]


def parse(message_id: str, timestamp: int, sequence: str | None, raw: bytes) -> Message:
    """Parse a verified body. Raises `Refused`."""
    try:
        body = json.loads(raw)
    except ValueError:
        raise Refused("bad_body") from None
    if not isinstance(body, dict):
        raise Refused("bad_body")
    kind = body.get("event", body.get("type"))
    if not isinstance(kind, str):
        raise Refused("bad_body")
    return Message(message_id, kind, timestamp, _number(body, sequence), _data(body), body)


def _number(body: dict[str, Any], header: str | None) -> int | None:
    """Return the sequence number in the body, because only the body is signed; a flat body leaves it to the header."""
    text = str(header if "event" in body else body.get("sequence", header))
    return int(text) if len(text) <= _LONGEST and text.isascii() and text.isdigit() else None


def _data(body: dict[str, Any]) -> dict[str, Any]:
    if "event" in body:
        return {name: value for name, value in body.items() if name != "event"}
    data = body.get("data")
    return data if isinstance(data, dict) else {name: value for name, value in body.items() if name not in _OUTER}
