"""The streams of the command: what others wrote cannot steer a terminal, and a reader that has gone makes no noise.

Control characters and those that turn the direction of text are shown as escapes. What comes of a service, a message
or a file goes out through here and in no other way.
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
from codecs import getincrementaldecoder
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
# The exit codes: a refusal of the other side, a call that the command cannot make sense of, and that of what a command
# has set in motion no word came in time; it may still come.
REFUSED: Final = 1
MISUSED: Final = 2
NOTHING_HEARD: Final = 3
# As the shell counts it for a program that the signal SIGPIPE has ended.
CLOSED_EXIT_CODE: Final = 141


class OutputFailed(Exception):
    """What the command writes cannot be written; the message says why."""


class OutputClosed(OutputFailed):
    """Nobody reads what the command writes any more."""


def printable(text: str) -> str:
    """Return a text on one line, with every character in it that cannot be seen as an escape."""
    return _UNSEEN.sub(_escape, text)


def json_text(value: object, indent: int | None = 2) -> str:
    """Return JSON in which every character that cannot be seen is written as JSON escapes it."""
    return _UNSEEN.sub(_json_escape, json.dumps(value, indent=indent, ensure_ascii=False))


def write_line(text: str) -> None:
    """Write one line to standard output."""
    _write(sys.stdout, printable(text) + "\n")


def write_text(text: str) -> None:
    """Write lines of our own making to standard output; what is quoted in them has to be printable already."""
    _write(sys.stdout, _lines(text))


def write_json(value: object, indent: int | None = 2) -> None:
    """Write JSON to standard output; what its encoding lacks is written as JSON escapes it."""
    text = json_text(value, indent)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    _write(sys.stdout, text + "\n")


def end_if_output_is_closed() -> None:
    """Raise OutputClosed if the reader of standard output has gone; who writes seldom would learn of it late."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return
    poll = select.poll()
    # What is an error of the other side is reported without being asked for.
    poll.register(descriptor, 0)
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        raise OutputClosed


class FileOutput:
    """Standard output for a file's bytes as they are; a terminal gets them as lines that cannot steer it."""

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
        """Nothing is kept back."""


def write_error(text: str) -> None:
    """Write lines of our own making to standard error; what is quoted in them has to be printable already."""
    _write(sys.stderr, _lines(text))


def redraw(text: str, *, is_last: bool = False) -> None:
    """Write over the line of before on standard error, if that is a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        _write(sys.stderr, f"\r{printable(text)}" + ("\n" if is_last else ""))


def discard_output() -> None:
    """Let what is still in the buffers go nowhere, or the interpreter complains of it at its end."""
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
