"""Counts the steps that Python code takes: its byte codes, the steps of its regular expressions, the bytes it looks at.

Steps and not seconds, so that a count says the same on every machine. What built-in functions do is not seen, except
on `CountedBytes`, which count what is searched and copied of them.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, SupportsIndex

from tests import regexes
from tests.regexes import Matcher

_PRODUCT = ("services.", "shared.", "mintwire.")


class _Counter:
    steps = 0


_counter = _Counter()


def steps_of(act: Callable[[], object]) -> int:
    """Run something and return how many steps it took; what it raises is its result."""
    _counter.steps = 0
    before = sys.gettrace()
    with _counted_expressions():
        sys.settrace(_trace)
        try:
            with suppress(Exception):
                act()
        finally:
            sys.settrace(before)
    return _counter.steps


def _trace(frame: FrameType, event: str, _: Any) -> Any:
    if frame.f_code.co_filename in {__file__, regexes.__file__}:
        return None
    frame.f_trace_opcodes, frame.f_trace_lines = True, False
    if event == "opcode":
        _counter.steps += 1
    return _trace


@contextmanager
def _counted_expressions() -> Iterator[None]:
    replaced: list[tuple[Any, str, re.Pattern[Any]]] = []
    for module in [module for name, module in sys.modules.items() if name.startswith(_PRODUCT)]:
        for name, value in list(vars(module).items()):
            if isinstance(value, re.Pattern):
                replaced.append((module, name, value))
                setattr(module, name, _CountedPattern(value))
    try:
        yield
    finally:
        for module, name, value in replaced:
            setattr(module, name, value)


class _CountedPattern:
    """An expression that adds the steps of each match; the match itself is Python's."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        self._pattern = pattern

    def fullmatch(self, text: Any) -> Any:
        return self._anchored(self._pattern.fullmatch, text)

    def match(self, text: Any) -> Any:
        return self._anchored(self._pattern.match, text)

    def _anchored(self, act: Callable[[Any], Any], text: Any) -> Any:
        matcher = Matcher(self._pattern, text)
        matcher.match(is_full=act == self._pattern.fullmatch)
        _counter.steps += matcher.steps
        return act(text)

    def search(self, text: Any) -> Any:
        return self._everywhere(text).search(text)

    def finditer(self, text: Any) -> Any:
        return self._everywhere(text).finditer(text)

    def sub(self, replacement: Any, text: Any) -> Any:
        return self._everywhere(text).sub(replacement, text)

    def split(self, text: Any, maxsplit: int = 0) -> Any:
        return self._everywhere(text).split(text, maxsplit)

    def _everywhere(self, text: Any) -> re.Pattern[Any]:
        matcher = Matcher(self._pattern, text)
        matcher.find_all()
        _counter.steps += matcher.steps
        return self._pattern


def add_steps(count: int) -> None:
    """Count what the code under test does by what stands in for it."""
    _counter.steps += count


class CountedBytes(bytes):
    """Bytes that count how many of them are searched and copied."""

    def find(self, wanted: Any, start: Any = 0, end: Any = None) -> int:
        found = super().find(wanted, start, end)
        last = len(self) if end is None else min(end, len(self))
        _counter.steps += (found if found >= 0 else last) - start
        return found

    def count(self, wanted: Any, start: Any = 0, end: Any = None) -> int:
        _counter.steps += (len(self) if end is None else end) - start
        return super().count(wanted, start, end)

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, bytes):
            _counter.steps += len(found)
            return CountedBytes(found)
        return found
