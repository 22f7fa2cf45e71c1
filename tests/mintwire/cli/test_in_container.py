"""In a container the command points to Docker Compose, and has no stack to start, inspect or delete."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT


def run(folder: Path, *arguments: str, in_container: bool) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "STACK_DIR": str(folder)}
    if in_container:
        environment["MINTWIRE_IN_CONTAINER"] = "1"
    argv = [sys.executable, "-m", "mintwire", *arguments]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("command", ["up", "down", "status", "clean"])
def test_a_stack_is_refused_with_a_sentence_and_nothing_is_touched(command: str, tmp_path: Path) -> None:
    """`stack clean` once deleted the demo's keys under the running system."""
    kept = tmp_path / "demo.json"
    kept.write_text("{}")
    done = run(tmp_path, "stack", command, in_container=True)
    assert done.returncode == 1
    assert "a container cannot run a stack: use `docker compose up`" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


@pytest.mark.parametrize(("in_container", "hint"), [(True, "docker compose up -d"), (False, "mintwire stack up")])
def test_hints_name_what_can_be_done_where_one_is(in_container: bool, hint: str, tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", in_container=in_container)
    assert done.returncode == 1
    other = "mintwire stack up" if in_container else "docker compose up"
    assert f"`{hint}`" in done.stdout
    assert other not in done.stdout


def test_the_image_says_that_it_is_one() -> None:
    assert "MINTWIRE_IN_CONTAINER=1" in (ROOT / "Dockerfile").read_text()
