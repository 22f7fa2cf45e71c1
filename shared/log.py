"""How the services log: one JSON line per fact, written as bytes; never a key, a signature or a recipient's name."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal

import orjson
import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRET_KEYS = frozenset(
    {
        "authorization",
        "api_key",
        "key",
        "secret",
        "signature",
        "token",
        "password",
        "recipient_name",
        "cookie",
    }
)

# The service whose lines are written as JSON at level info; None before that, or in other formats.
_direct: Final[dict[str, str | None]] = {"service": None}


def configure(service: str, level: str, form: Literal["json", "console"]) -> None:
    """Set up structlog for this process, and bring the libraries' own log records into the same stream."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mask_secrets,
    ]
    if form == "json":
        last: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dump),
        ]
        factory: Any = structlog.BytesLoggerFactory(sys.stdout.buffer)
    else:
        # The default traceback shows local variables, which contain recipients' names.
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain)]
        factory = structlog.WriteLoggerFactory(sys.stdout)
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    _direct["service"] = service if form == "json" and _LEVELS[level] <= _LEVELS["info"] else None
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return a logger; facts go in as keywords, the event name stays static."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def line_writer(event: str) -> Callable[..., None]:
    """Return a function that writes `event` at level info with the facts given; bound context is left out.

    For the one line of every request: it costs a third of a structlog line, which would be the most expensive part
    of a request. Facts must be free of secrets: nothing masks them here.
    """
    service = _direct["service"]
    if service is None:
        return partial(get_logger().bind().info, event)
    head = {"event": event, "level": "info", "service": service}
    out = sys.stdout.buffer
    is_flush_due = False
    second, second_text = 0, ""

    def flush() -> None:
        nonlocal is_flush_due
        is_flush_due = False
        out.flush()

    def write(**facts: Any) -> None:
        nonlocal is_flush_due, second, second_text
        microseconds = time.time_ns() // 1000
        if microseconds // 1_000_000 != second:
            second = microseconds // 1_000_000
            second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        stamp = f"{second_text}{microseconds % 1_000_000:06d}Z"
        out.write(orjson.dumps({"timestamp": stamp, **head, **facts}, option=orjson.OPT_APPEND_NEWLINE))
        # Lines of one turn of the event loop share one write; a system call each would be expensive.
        if not is_flush_due:
            try:
                asyncio.get_running_loop().call_soon(flush)
            except RuntimeError:
                out.flush()
            else:
                is_flush_due = True

    return write


def _dump(event: Any, **_: Any) -> bytes:
    try:
        return orjson.dumps(event, default=str)
    except TypeError:
        # Half a surrogate pair or a very large number, which orjson refuses; a line must not fail because of its
        # content.
        return json.dumps(event, default=str, skipkeys=True).encode()


def _mask_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key in _SECRET_KEYS & event.keys():
        event[key] = "***"
    return event


class _Forward(logging.Handler):
    """Hands the records of libraries that use the standard logging module to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        get_logger().log(
            record.levelno,
            "library_log",
            logger=record.name,
            text=record.getMessage(),
            exc_info=record.exc_info,
        )
