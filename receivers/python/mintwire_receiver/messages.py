"""Reads a verified body, whichever of the endpoint's formats it has: flat, standard, thin or cloudevents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mintwire_receiver.signatures import Refused

_OUTER = ("type", "timestamp", "data")


@dataclass(frozen=True)
class Message:
    """One webhook. `id` is the same in every attempt; `data` holds what the event says, `body` all of it as sent.

    `sequence` counts the messages of a partner in the order of their events, so that a later attempt of an older
    message does not overwrite newer facts; None if the sender has not said it.
    """

    id: str
    type: str
    timestamp: int
    sequence: int | None
    data: Mapping[str, Any]
    body: Mapping[str, Any]


def parse(message_id: str, timestamp: int, sequence: str | None, raw: bytes) -> Message:
    """Read a body that has been verified. Raises `Refused`."""
    try:
        body = json.loads(raw)
    except ValueError:
        raise Refused("bad_body") from None
    if not isinstance(body, dict):
        raise Refused("bad_body")
    number = int(sequence) if sequence is not None and sequence.isascii() and sequence.isdigit() else None
    kind = body.get("event", body.get("type"))
    if not isinstance(kind, str):
        raise Refused("bad_body")
    return Message(message_id, kind, timestamp, number, _data(body), body)


def _data(body: dict[str, Any]) -> dict[str, Any]:
    if "event" in body:
        return {name: value for name, value in body.items() if name != "event"}
    data = body.get("data")
    return data if isinstance(data, dict) else {name: value for name, value in body.items() if name not in _OUTER}
