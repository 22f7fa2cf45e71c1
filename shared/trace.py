"""The W3C trace context (`traceparent`): read and passed on unchanged, since we create no spans."""

import re
from typing import Final

TRACEPARENT: Final = "traceparent"
"""The name of the HTTP header, of the AMQP header and of the extension attribute of CloudEvents."""

_FIELDS: Final = "(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
# The additions of later versions are unknown, but bounded, and harmless in a header.
_LONGEST_ADDITION: Final = 200
_VALID: Final = re.compile(
    f"00-{_FIELDS}|(?!00|ff)[0-9a-f]{{2}}-{_FIELDS}(?:-[0-9A-Za-z._-]{{0,{_LONGEST_ADDITION}}})?"
)


def valid_traceparent(value: object) -> str | None:
    """Return a trace context that follows the grammar; anything else counts as none, as W3C demands."""
    return value if isinstance(value, str) and _VALID.fullmatch(value) else None


def trace_id(traceparent: str) -> str:
    """Return the id of the whole trace, to search logs with."""
    return traceparent[3:35]


def trace_facts(traceparent: str | None) -> dict[str, str]:
    """Return the facts of a trace for a log line, empty without a trace."""
    return {} if traceparent is None else {"trace_id": trace_id(traceparent)}
