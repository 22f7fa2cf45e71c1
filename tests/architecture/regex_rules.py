"""Rules about regular expressions: each is a constant of its module and takes steps in proportion to its text."""

import ast
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any

from tests.architecture.source import Fault, PythonFile
from tests.regexes import Matcher, Text, TooManySteps, hostile_texts

# Those that have to match from the beginning; all others try every place of the text.
_ANCHORED = frozenset({"fullmatch", "match"})
_LENGTH = 60


def loose_regexes(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find expressions that are not constants of a module: the next rule would not see them."""
    for file in files:
        constants = {id(node.value) for node in file.tree.body if isinstance(node, ast.Assign | ast.AnnAssign)}
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Call) and _is_of_re(node.func) and id(node) not in constants:
                yield file.fault(node, "a regular expression is a compiled constant of its module")


def _is_of_re(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "re"


def slow_regexes(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find expressions for which twice the text can be more than twice the work."""
    for file in files:
        if "re.compile(" not in file.text:
            continue
        module = importlib.import_module(".".join(PurePath(file.path).with_suffix("").parts))
        for name, pattern in vars(module).items():
            if isinstance(pattern, re.Pattern) and (text := slow_text(pattern, is_anchored=_is_anchored(file, name))):
                yield Fault(file.path, 1, f"{name} takes more than its share of steps on {text[:30]!r}...")


def _is_anchored(file: PythonFile, name: str) -> bool:
    methods = {
        node.attr
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    }
    return bool(methods) and methods <= _ANCHORED


def slow_text(pattern: re.Pattern[Any], *, is_anchored: bool) -> Text | None:
    """Return a text that takes more than twice the steps when it is doubled; None if there is none."""
    pairs = zip(hostile_texts(pattern, _LENGTH), hostile_texts(pattern, 2 * _LENGTH), strict=True)
    for once, twice in pairs:
        try:
            if (
                _steps(pattern, twice, is_anchored=is_anchored)
                > 2.2 * _steps(pattern, once, is_anchored=is_anchored) + 150
            ):
                return twice
        except TooManySteps:
            return twice
    return None


def _steps(pattern: re.Pattern[Any], text: Text, *, is_anchored: bool) -> int:
    matcher = Matcher(pattern, text)
    if is_anchored:
        matcher.match(is_full=True)
    else:
        matcher.find_all()
    return matcher.steps
