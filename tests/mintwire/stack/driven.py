"""A stack driven by the command, as a person would, and ways to inspect it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mintwire.stack import down as ending
from mintwire.stack.config import StackSettings
from mintwire.stack.demo import play
from tests.servers import ROOT

DEADLINE_SECONDS = 90.0


@dataclass(frozen=True)
class Stack:
    """A stack in its own folder, driven by the command as a person would."""

    folder: Path
    given: tuple[tuple[str, str], ...] = ()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `mintwire stack` with the arguments."""
        inherited = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "AMQP_URL"}}
        return subprocess.run(
            [sys.executable, "-m", "mintwire", "stack", *arguments],
            env={**inherited, "STACK_DIR": str(self.folder), **dict(self.given)},
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )

    def up(self, *arguments: str) -> str:
        """Bring it up in the background and return the output."""
        finished = self.run("up", "--detach", *arguments)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    @property
    def facts(self) -> dict[str, Any]:
        """The content of `stack.json`."""
        facts: dict[str, Any] = json.loads((self.folder / "stack.json").read_text())
        return facts

    def status(self) -> dict[str, Any]:
        """The output of `stack status`."""
        return ending.status(StackSettings(self.folder, None, None, {}))

    def states(self) -> dict[str, str]:
        """State by process."""
        return {process["name"]: process["state"] for process in self.status()["processes"]}

    def pids(self) -> dict[str, int]:
        """Pid by process, of the running ones."""
        return {process["name"]: process["pid"] for process in self.status()["processes"] if process["pid"]}

    def processes(self) -> list[psutil.Process]:
        """Return every process that uses this folder."""
        return [
            process
            for process in psutil.process_iter(["cmdline", "cwd"])
            if str(self.folder) in " ".join([*(process.info["cmdline"] or []), process.info["cwd"] or ""])
        ]

    async def main_job(self) -> list[str]:
        """Mint, check out and wait for the webhook; return the output."""
        said: list[str] = []
        await play(self.facts, self.facts["amqp_url"], said.append)
        return said


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_all_ready(stack: Stack) -> bool:
    return set(stack.states().values()) == {"ready"}
