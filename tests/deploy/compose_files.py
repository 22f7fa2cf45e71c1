"""Reads the compose files as the compose program itself does, without an engine."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).parent / "docker-compose"


def run_config(*files: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `docker compose config` on the files; neither `.env` nor the caller's variables have a say."""
    chosen = [part for file in files for part in ("--file", str(REPOSITORY / file))]
    argv = [str(PROGRAM), "--env-file", os.devnull, *chosen, "config", "--format", "json"]
    return subprocess.run(
        argv, cwd=REPOSITORY, env=environment or {}, capture_output=True, text=True, check=False, timeout=60
    )


def config(*files: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the resolved configuration of the files."""
    done = run_config(*files, environment=environment)
    assert done.returncode == 0, done.stderr
    resolved: dict[str, Any] = json.loads(done.stdout)
    return resolved
