"""The files of the repository name no registry and no machine, explain what they switch off, and use plain words."""

from collections.abc import Callable, Iterator

import pytest

from tests.architecture import text_rules
from tests.architecture.source import ROOT, Fault, repository_files

Rule = Callable[[str, str], Iterator[Fault]]

_BINARY = {".png", ".gif", ".jpg", ".ico", ".woff2", ".gz"}
# Files taken over whole from their makers, and lists of hashes.
_VENDORED = ("/static/", "/vendor/")
# Where prose was gone through for native English and stays so. Add a path once it is clean.
_PLAIN = (
    ".env.example",
    "CONTRIBUTING.md",
    "Dockerfile",
    "Makefile",
    "README.md",
    "bench/",
    "deploy/",
    "docker-compose.yml",
    "docs/adr/",
    "docs/architecture.md",
    "docs/guides/",
    "docs/operations.md",
    "docs/threat-model.md",
    "mintwire/",
    "receivers/",
    "scripts/",
    "services/",
    "shared/",
    "tests/bench/",
    "tests/contracts/",
    "tests/deploy/",
    "tests/docs/",
    "tests/mintwire/",
    "tests/receivers/",
    "tests/services/",
    "tests/shared/",
    "tests/system/",
)
_PROSE = {".example", ".py", ".md", ".sh", ".yml", ".cfg", ".conf", ".js", ".ts", ""}


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


def test_prose_has_no_words_that_no_native_speaker_would_write() -> None:
    """People who never see the code read descriptions, help and errors; the worst stumbles must not return."""
    _report(
        [
            fault
            for path, text in _texts(*_PROSE)
            if path.startswith(_PLAIN)
            for fault in text_rules.stumbles(path, text)
        ]
    )


def test_every_path_of_plain_prose_is_there() -> None:
    """A path that was renamed would no longer be looked at."""
    paths = list(repository_files())
    assert [plain for plain in _PLAIN if not any(path.startswith(plain) for path in paths)] == []


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


STUMBLING = [
    ("a.py", '"""Return so many codes."""'),
    ("a.py", "LIMIT = 5  # How many at most."),
    ("a.py", '"""As many replays as there may be."""'),
    ("a.py", '"""For whoever asks."""'),
    ("a.py", 'LIMIT = Field(description="Makes the codes anew.")'),
    ("a.py", 'raise ValueError("the key was refused of late")'),
    ("a.py", '"""Its content is kept no longer."""'),
    ("a.py", '"""`quota.low` is said when few codes are left."""'),
    ("a.py", '"""What is told of an endpoint."""'),
    ("a.py", '"""It was made before it was heard of."""'),
    ("a.py", '"""Return what came of an attempt."""'),
    ("a.py", '"""The request\n    that brought it about."""'),
    ("a.py", '"""Addresses, apart by commas."""'),
    ("a.py", '"""A twin of this request."""'),
    ("a.py", "LIMIT = 5  # Of each program the first."),
    ("tests/a.py", '"""The partner and his key."""'),
    ("a.md", "One key. Of many the first counts."),
    ("a.md", "- Of many the first counts."),
    ("a.yml", "# For whoever runs it."),
    ("a.js", "// For whoever runs it."),
]
PLAIN = [
    ("a.py", '"""Return up to `limit` codes; of course not more than there are."""'),
    ("a.py", 'def so_many(whoever: str) -> None: """Names are code: `so many`, `whoever`."""'),
    ("tests/a.py", 'NAMES = ("he said so many things to whoever asked", "anew")'),
    ("a.py", '"""Told apart by their ids. The history of a delivery; the theme of the page."""'),
    ("a.md", "```\nOf whoever, so many\n```\nThe limits of a coupon."),
    ("a.yml", "command: so many words of whoever"),
]


@pytest.mark.parametrize(("path", "text"), STUMBLING)
def test_a_stumble_is_found(path: str, text: str) -> None:
    assert list(text_rules.stumbles(path, text))


@pytest.mark.parametrize(("path", "text"), PLAIN)
def test_plain_prose_passes(path: str, text: str) -> None:
    assert not list(text_rules.stumbles(path, text))


@pytest.mark.parametrize(("rule", "text"), PLANTED)
def test_a_planted_fault_is_found(rule: Rule, text: str) -> None:
    assert list(rule("file", text))


@pytest.mark.parametrize(("rule", "text"), PASSING)
def test_what_is_right_passes(rule: Rule, text: str) -> None:
    assert not list(rule("file", text))
