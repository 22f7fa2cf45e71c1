"""The threat model names for each boundary the test that holds it: every boundary has one, and every one is there."""

import ast
import re

from tests.architecture.source import ROOT

PAGE = (ROOT / "docs/threat-model.md").read_text("utf-8")
HEADING = "## Which test holds which boundary\n"


def rows() -> list[tuple[str, str]]:
    """Return the rows of the table: a boundary and the cell that names its tests, empty in a row that is a title."""
    table = PAGE.partition(HEADING)[2].partition("\n## ")[0]
    found = re.findall(r"^\| (.+?) \| (.*?) ?\|$", table, re.MULTILINE)
    return [row for row in found if row != ("boundary", "test")]


def is_defined(node_id: str) -> bool:
    """Say whether a file has the test of this name, in the class that is named if one is."""
    path, *names = node_id.split("::")
    body = ast.parse((ROOT / path).read_text("utf-8")).body if (ROOT / path).is_file() else []
    for name in names:
        kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        found = next((node for node in body if isinstance(node, kinds) and node.name == name), None)
        if found is None:
            return False
        body = found.body
    return names[-1].startswith("test_")


def test_every_test_that_the_table_names_is_there() -> None:
    named = [node_id for _, cell in rows() for node_id in re.findall(r"`([^`]+)`", cell)]
    assert named
    assert [node_id for node_id in named if not is_defined(node_id)] == []


def test_every_boundary_has_rows_and_every_row_a_test() -> None:
    boundaries: dict[str, int] = {}
    for boundary, cell in rows():
        if boundary.startswith("**"):
            boundaries[boundary.strip("*")] = 0
        else:
            boundaries[list(boundaries)[-1]] += 1
            assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", cell), boundary
    titles = re.findall(r"^### (\d\. [^:\n]+)", PAGE, re.MULTILINE)
    assert list(boundaries) == titles
    assert all(boundaries.values())


def test_a_test_that_is_not_there_is_found_out() -> None:
    here = "tests/docs/test_threat_model.py::test_a_test_that_is_not_there_is_found_out"
    assert is_defined(here)
    assert not is_defined(here + "_at_all")
    assert not is_defined("tests/docs/test_nothing.py::test_nothing")
    assert not is_defined("tests/docs/test_threat_model.py::is_defined")
