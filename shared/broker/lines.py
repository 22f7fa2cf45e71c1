"""Log lines about a message and its failure; no message or exception can make a log line fail."""

import asyncio
from collections.abc import Callable
from typing import Any

from structlog.typing import FilteringBoundLogger

from shared.broker.messages import Received
from shared.events.envelope import InvalidEvent, decode_envelope
from shared.trace import trace_facts


def tell(log: FilteringBoundLogger, event: str, **facts: Any) -> None:
    """Log the outcome of a message."""
    _write(log.info, event, facts)


def tell_failure(log: FilteringBoundLogger, event: str, exc: BaseException, **facts: Any) -> None:
    """Log what went wrong with a message."""
    _write(log.error, event, {**facts, "exc_info": exc})


def facts_of(received: Received) -> dict[str, Any]:
    """Return the facts of a message for a log line: its id, and its trace if the message names one."""
    try:
        traceparent = decode_envelope(received.body).traceparent
    except InvalidEvent:
        traceparent = None
    except BaseException as exc:  # noqa: BLE001 - what failed on this message may fail on it again
        refuse_to_end(exc)
        traceparent = None
    return {"message_id": received.message_id, **trace_facts(traceparent or received.traceparent)}


def text_of(exc: BaseException) -> str:
    """Return an exception's text."""
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - the author of its `__str__` did not think of this message
        return "it cannot be rendered as text"


def refuse_to_end(exc: BaseException) -> None:
    """Raise again what is meant to end the process or a task; anything else is the message's own fault,
    a panic of an extension module included.
    """
    if isinstance(exc, KeyboardInterrupt | SystemExit | GeneratorExit | asyncio.CancelledError):
        raise exc


def _write(write: Callable[..., Any], event: str, facts: dict[str, Any]) -> None:
    try:
        write(event, **facts)
    except Exception as failure:  # noqa: BLE001 - the message must still be settled
        write(event, not_logged=type(failure).__name__)
