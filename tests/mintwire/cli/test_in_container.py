"""In a container the command points to Docker Compose, and has no stack to start, inspect or delete."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mintwire.__main__ import main
from tests.servers import ROOT

Run = Callable[..., tuple[object, str, str]]
# The library warns of arguments that might be those of the test runner; these are the test's own.
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command with an environment of its own; returns exit code, output and error output."""
    for name in [name for name in os.environ if name.startswith("MINTWIRE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STACK_DIR", str(tmp_path))

    def run(*arguments: str, in_container: bool) -> tuple[object, str, str]:
        if in_container:
            monkeypatch.setenv("MINTWIRE_IN_CONTAINER", "1")
        monkeypatch.setattr(sys, "argv", ["mintwire", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("command", ["up", "down", "status", "clean"])
def test_a_stack_is_refused_with_a_sentence_and_nothing_is_touched(command: str, run: Run, tmp_path: Path) -> None:
    """`stack clean` once deleted the demo's keys under the running system."""
    kept = tmp_path / "demo.json"
    kept.write_text("{}")
    code, _, err = run("stack", command, in_container=True)
    assert code == 1
    assert "a container cannot run a stack: use `docker compose up`" in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


@pytest.mark.parametrize(("in_container", "hint"), [(True, "docker compose up -d"), (False, "mintwire stack up")])
def test_hints_name_what_can_be_done_where_one_is(in_container: bool, hint: str, run: Run) -> None:
    code, out, _ = run("doctor", in_container=in_container)
    assert code == 1
    other = "mintwire stack up" if in_container else "docker compose up"
    assert f"`{hint}`" in out
    assert other not in out


@pytest.mark.parametrize(("in_container", "hint"), [(True, "deploy/README.md"), (False, "No stack is up")])
def test_a_history_without_a_stack_is_refused_with_a_sentence(in_container: bool, hint: str, run: Run) -> None:
    code, _, err = run("demo", "fill", in_container=in_container)
    assert code == 1
    assert hint in err


def test_the_image_says_that_it_is_one() -> None:
    assert "MINTWIRE_IN_CONTAINER=1" in (ROOT / "Dockerfile").read_text()
