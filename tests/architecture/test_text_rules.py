"""The files in the repository name no registry and no machine, and explain what they switch off."""

from collections.abc import Callable, Iterator

import pytest

from tests.architecture import text_rules
from tests.architecture.source import ROOT, Fault, repository_files

Rule = Callable[[str, str], Iterator[Fault]]

_BINARY = {".png", ".gif", ".jpg", ".ico", ".woff2", ".gz"}
# Files taken over whole from their makers, and lists of hashes.
_VENDORED = ("/static/", "/vendor/")


def _texts(*suffixes: str) -> Iterator[tuple[str, str]]:
    for path in repository_files():
        suffix = (ROOT / path).suffix
        is_ours = suffix not in _BINARY and not any(part in f"/{path}" for part in _VENDORED)
        if is_ours and (not suffixes or suffix in suffixes):
            yield path, (ROOT / path).read_text("utf-8", errors="replace")


def _report(faults: list[Fault]) -> None:
    assert not faults, "\n" + "\n".join(map(str, faults))


def test_no_file_names_a_package_registry() -> None:
    _report([fault for path, text in _texts() for fault in text_rules.registry_hosts(path, text)])


def test_no_file_holds_a_path_of_one_machine() -> None:
    _report([fault for path, text in _texts() for fault in text_rules.local_paths(path, text)])


def test_every_switched_off_rule_is_explained_on_its_line() -> None:
    _report(
        [
            fault
            for path, text in _texts(".py")
            if not path.startswith("tests/architecture/")
            for fault in text_rules.unexplained_switches(path, text)
        ]
    )


def test_every_ignore_of_ruff_is_explained_on_its_line() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    _report(list(text_rules.unexplained_ruff_ignores("pyproject.toml", text)))


PLANTED: list[tuple[Rule, str]] = [
    (text_rules.registry_hosts, "index-url = https://py" + "pi.org/simple"),
    (text_rules.registry_hosts, "https://files.py" + "thonhosted.org/packages/x.whl"),
    (text_rules.registry_hosts, '"resolved": "https://registry.np' + 'mjs.org/a"'),
    (text_rules.local_paths, "cd /ho" + "me/somebody/mintwire"),
    (text_rules.local_paths, 'path = "/ro' + 'ot/.cache"'),
    (text_rules.unexplained_switches, "x = 1  # no" + "qa"),
    (text_rules.unexplained_switches, "x = 1  # no" + "qa: S101"),
    (text_rules.unexplained_switches, "x = 1  # type: ig" + "nore"),
    (text_rules.unexplained_ruff_ignores, '[tool.ruff.lint]\nignore = [\n    "D105",\n]\n'),
    (text_rules.unexplained_ruff_ignores, '[tool.ruff.lint]\nignore = ["D105"]\n'),
    (text_rules.unexplained_ruff_ignores, '[tool.ruff.lint.per-file-ignores]\n"a/**" = [\n    "S101",\n]\n'),
]

PASSING: list[tuple[Rule, str]] = [
    (text_rules.local_paths, "GET /v1/work" + "/items and ${ROOT}/ro" + "ot/x"),
    (text_rules.unexplained_switches, "x = 1  # no" + "qa: S101 - a test of the assert itself"),
    (text_rules.unexplained_ruff_ignores, '[tool.ruff.lint]\nselect = ["D1"]\nignore = ["D105"]  # names say it\n'),
]


@pytest.mark.parametrize(("rule", "text"), PLANTED)
def test_a_planted_fault_is_found(rule: Rule, text: str) -> None:
    assert list(rule("file", text))


@pytest.mark.parametrize(("rule", "text"), PASSING)
def test_what_is_right_passes(rule: Rule, text: str) -> None:
    assert not list(rule("file", text))
