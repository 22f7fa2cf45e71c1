"""The command's streams: quoted text cannot control a terminal, and a closed pipe causes no traceback.

Control characters and those that change the direction of text are shown as escapes. All text from a service, a message
or a file is printed through this module only.
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
from codecs import getincrementaldecoder
from getpass import getpass
from typing import IO, AnyStr, Final

# Everything that Unicode calls a control or format character, a line or paragraph separator or half a character, but
# the two joiners that names and emoji are written with.
_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LINE_END: Final = "\n"
# The exit codes: a refusal by the service, an invalid use of the command, and no result in time of what the command
# has started; it may still arrive.
REFUSED: Final = 1
MISUSED: Final = 2
NOTHING_HEARD: Final = 3
# The shell's exit code for a program ended by SIGPIPE.
CLOSED_EXIT_CODE: Final = 141


class OutputFailed(Exception):
    """The output cannot be written; the message says why."""


class OutputClosed(OutputFailed):
    """The reader of the output has gone."""


def printable(text: str) -> str:
    """Return a text on one line, with every invisible character as an escape."""
    return _UNSEEN.sub(_escape, text)


def json_text(value: object, indent: int | None = 2) -> str:
    """Return JSON in which every invisible character is a JSON escape."""
    return _UNSEEN.sub(_json_escape, json.dumps(value, indent=indent, ensure_ascii=False))


def write_line(text: str) -> None:
    """Write one line to standard output."""
    _write(sys.stdout, printable(text) + "\n")


def write_text(text: str) -> None:
    """Write our own lines to standard output; text quoted in them must already be printable."""
    _write(sys.stdout, _lines(text))


def write_json(value: object, indent: int | None = 2) -> None:
    """Write JSON to standard output; characters missing from its encoding are written as JSON escapes."""
    text = json_text(value, indent)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    _write(sys.stdout, text + "\n")


def end_if_output_is_closed() -> None:
    """Raise OutputClosed if the reader of standard output has gone; a rare write would notice it late."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return
    poll = select.poll()
    # An error of the other side is reported without being requested.
    poll.register(descriptor, 0)
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        raise OutputClosed


class FileOutput:
    """Standard output for the bytes of a file; a terminal gets them as lines that cannot control it."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")(errors="replace")

    def write(self, piece: bytes) -> None:
        """Write the next bytes."""
        if sys.stdout is None:
            return
        if sys.stdout.isatty():
            _write(sys.stdout, _UNSEEN.sub(_escape_within, self._decoder.decode(piece)))
        else:
            _write(sys.stdout.buffer, piece)

    def flush(self) -> None:
        """There is nothing to flush."""


def write_error(text: str) -> None:
    """Write our own lines to standard error; text quoted in them must already be printable."""
    _write(sys.stderr, _lines(text))


def ask_secret(prompt: str) -> str:
    """Ask for a secret at the terminal, without showing what is typed."""
    return getpass(prompt)


def redraw(text: str, *, is_last: bool = False) -> None:
    """Overwrite the last line on standard error, if that is a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        _write(sys.stderr, f"\r{printable(text)}" + ("\n" if is_last else ""))


def discard_output() -> None:
    """Discard what is still buffered, or the interpreter reports an error at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _write(stream: IO[AnyStr] | None, content: AnyStr) -> None:
    if stream is None:
        return
    try:
        stream.write(content)
        stream.flush()
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        raise OutputFailed(f"the output cannot be written: {error.strerror}") from error


def _lines(text: str) -> str:
    return "".join(f"{printable(line)}\n" for line in text.split("\n"))


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    number = ord(character)
    if number < 0x100:
        return _SHORT.get(character) or f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _escape_within(match: re.Match[str]) -> str:
    return match[0] if match[0] == _LINE_END else _escape(match)


def _json_escape(match: re.Match[str]) -> str:
    # Line ends in JSON's own text are between its members; in a string they are escaped already.
    return match[0] if match[0] == _LINE_END else json.dumps(match[0])[1:-1]
