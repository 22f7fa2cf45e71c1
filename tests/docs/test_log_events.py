"""`docs/operations.md` lists every event that the services log, and no other."""

import ast
import re
from collections.abc import Iterator

from tests.architecture.source import ROOT, repository_files

_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
# Helpers that log, with the place of the event's name among their arguments.
_HELPERS = {"tell": 1, "tell_failure": 1, "line_writer": 0}
_SECTION = re.compile(r"(?ms)^### Log events\n(.*?)^## ")
_ROW = re.compile(r"(?m)^\| `(\w+)` \| ((?:debug|info|warning|error)(?:, \w+)*) \| \S.* \|$")


def logged_events(text: str) -> Iterator[str]:
    """Yield the names of the events that a module logs."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in _LEVELS:
            place = 0
        elif isinstance(function, ast.Name) and function.id in _HELPERS:
            place = _HELPERS[function.id]
        else:
            continue
        name = node.args[place] if len(node.args) > place else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value


def test_every_logged_event_is_listed_and_no_other() -> None:
    """An operator who searches for a line of the log must find what it means; an alert on a renamed one never fires."""
    (section,) = _SECTION.findall((ROOT / "docs/operations.md").read_text("utf-8"))
    listed = [name for name, _ in _ROW.findall(section)]
    logged = {
        name
        for path in repository_files()
        if path.startswith(("services/", "shared/")) and path.endswith(".py")
        for name in logged_events((ROOT / path).read_text("utf-8"))
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == logged


def test_names_are_words_joined_by_underscores() -> None:
    (section,) = _SECTION.findall((ROOT / "docs/operations.md").read_text("utf-8"))
    assert [name for name, _ in _ROW.findall(section) if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name)] == []


def test_each_way_to_log_is_seen() -> None:
    text = 'log.info("a_b")\ntell(log, "c_d", x=1)\nline_writer("e_f")\nself._log.error(name)\nother("g_h")\n'
    assert list(logged_events(text)) == ["a_b", "c_d", "e_f"]
