"""The walks on the architecture page lead through files and names that there are, and its drawing has every layer."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, repository_files

PAGE = ROOT / "docs/architecture.md"
WALKS = (
    "## A mint, file by file",
    "## A coupon from the request to its row",
    "## A checkout event, file by file",
    "## A delivery, file by file",
)
_FILE = re.compile(r"`([\w*./-]+\.(?:py|toml|yaml|yml))`")
_NAME = re.compile(r"`([A-Z][a-z]\w*(?:\.[a-z_]+)?|[A-Z]{2,}_[A-Z_]+)`")
_BASE = re.compile(r"below `(services/\w+/)`")


def sections(text: str) -> list[str]:
    """Return the sections of a page, each with its heading."""
    return re.split(r"(?m)^(?=## )", text)


def missing_files(section: str, files: set[str]) -> list[str]:
    """Return the named files that are not there: by their whole path, in the section's folder, or by a bare name."""
    base = match[1] if (match := _BASE.search(section)) else ""
    return [
        name
        for name in _FILE.findall(section)
        if not (
            name in files
            or base + name in files
            or any(ROOT.glob(name))
            or ("/" not in name and any(path.endswith(f"/{name}") for path in files))
        )
    ]


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text("utf-8")


@pytest.fixture(scope="module")
def files() -> set[str]:
    return set(repository_files())


def test_it_names_files_that_there_are(page: str, files: set[str]) -> None:
    """A newcomer who follows a walk into a file that was renamed is lost at its first step."""
    assert [name for section in sections(page) for name in missing_files(section, files)] == []


def test_every_walk_is_there_with_its_files_in_order(page: str) -> None:
    by_heading = {section.partition("\n")[0]: section for section in sections(page)}
    for walk in WALKS:
        steps = re.findall(r"(?m)^(\d+)\. ", by_heading[walk])
        assert [int(step) for step in steps] == list(range(1, len(steps) + 1))
        assert len(set(_FILE.findall(by_heading[walk]))) >= 6


def test_it_names_classes_and_statements_that_there_are(page: str, files: set[str]) -> None:
    code = "\n".join(
        (ROOT / path).read_text("utf-8") for path in files if Path(path).suffix == ".py" and path.startswith("s")
    )
    known = set(re.findall(r"\w+", code))
    names = set(_NAME.findall(page))
    assert names
    assert {name for name in names if not set(name.split(".")) <= known} == set()


def test_its_drawing_has_every_layer_of_a_service(page: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["id"] == "service-layers"]
    (drawing,) = [block for block in re.findall(r"(?ms)^```\n(.*?)^```", page) if "__main__" in block]
    rows = drawing.splitlines()
    for place, layer in enumerate(layers):
        assert [module for module in re.findall(r"\w+", layer) if module not in rows[place]] == []


def test_a_file_that_is_gone_is_found(files: set[str]) -> None:
    section = "## A walk\n\nPaths are below `services/webhooks/`.\n\n1. `sender/client.py`, `app.py`, `shared/gone.py`"
    assert missing_files(section, files) == ["shared/gone.py"]
    assert missing_files("1. `sender/client.py`", files) == ["sender/client.py"]
