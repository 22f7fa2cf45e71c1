"""The bodies that receivers get, as members in order; they become bytes once, and those are signed ever after."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

DEFAULT_ATTRIBUTES: Final = ("card_id", "recipient_name", "occasion")
# Members that are ours; an attribute of the same name never takes their place.
RESERVED: Final = frozenset({"event", "partner_id", "code", "timestamp", "codes_remaining"})


def flat_members(event_type: str, data: Mapping[str, Any], occurred_at: datetime) -> dict[str, Any]:
    """Return the members of an event's flat body in order; for `code.redeemed` exactly the documented ones."""
    body: dict[str, Any] = {"event": event_type, "partner_id": data.get("partner_id")}
    if event_type == "code.redeemed":
        body["code"] = data.get("code")
        body |= _attributes(data)
        body["timestamp"] = milliseconds(occurred_at)
        body["codes_remaining"] = data.get("codes_remaining")
    else:
        body |= {name: value for name, value in data.items() if name not in {"event", "timestamp"}}
        body["timestamp"] = milliseconds(occurred_at)
    return body


def members_of_test(partner_id: str | None, program_name: str, now: datetime) -> dict[str, Any]:
    """Return the members of a test event's body in order."""
    return {
        "event": "test",
        "partner_id": partner_id,
        "timestamp": milliseconds(now),
        "message": f"Test webhook from {program_name}",
    }


def milliseconds(moment: datetime) -> str:
    """Render an aware time as RFC 3339 in UTC with milliseconds and `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _attributes(data: Mapping[str, Any]) -> dict[str, Any]:
    names: Sequence[str] | None = data.get("attribute_names")
    given: Mapping[str, Any] = data.get("attributes") or {}
    chosen = DEFAULT_ATTRIBUTES if names is None else names
    return {name: given.get(name) for name in chosen if name not in RESERVED}
