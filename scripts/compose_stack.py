"""A compose stack on the private engine of `scripts/compose-up-for-real.sh`, as the check sees it from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("compose-up-for-real.sh")
WAIT_SECONDS = 120.0
# A build, or the start of everything on a busy machine.
COMMAND_SECONDS = 900
_STARTED = time.monotonic()
_ONCE = {"image", "migrate", "demo"}


def say(text: str) -> None:
    """Print one finding with the time since the start."""
    sys.stdout.write(f"{time.monotonic() - _STARTED:6.1f} s  {text}\n")
    sys.stdout.flush()


def until(what: str, condition: Callable[[], bool]) -> None:
    """Wait for the condition, within a deadline."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"gave up waiting: {what}")
        time.sleep(0.3)


class Stack:
    """The stack of one tree."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self._environment = {**os.environ, "COMPOSE_REAL_SOURCE": str(source)}

    def overlay(self, file: str) -> None:
        """Also use this file from now on; none if it is empty."""
        self._environment["COMPOSE_REAL_OVERLAY"] = file

    def compose(self, *arguments: str) -> str:
        """Run a docker compose command and return what it prints."""
        done = self._run("compose", *arguments)
        if done.returncode:
            sys.exit(f"docker compose {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """Run a docker compose command that must fail, and return its output."""
        done = self._run("compose", *arguments)
        if not done.returncode:
            sys.exit(f"docker compose {' '.join(arguments)} should have failed")
        return done.stdout + done.stderr

    def must_say(self, service: str, text: str) -> None:
        """Fail unless the log of a service contains this text."""
        said = self.compose("logs", "--no-log-prefix", "--tail", "30", service)
        if text not in said:
            sys.exit(f"{service} does not say {text!r}:\n{said}")

    def restart_engine(self) -> None:
        """Stop the engine under its containers and start it again."""
        done = self._run("restart")
        if done.returncode:
            sys.exit(f"the engine does not restart: {done.stdout}{done.stderr}")

    def forget_image(self) -> None:
        """Remove the image and everything that a build could take from a cache."""
        for command in (["image", "rm", "--force", "mintwire:local"], ["builder", "prune", "--all", "--force"]):
            self._docker(*command)
        self._docker("image", "prune", "--force")

    def demo(self) -> dict[str, Any]:
        """Return what the demo created."""
        found: dict[str, Any] = json.loads(self.kept("demo.json"))
        return found

    def kept(self, file: str) -> str:
        """Return one of the files in the demo's volume."""
        return self.compose("exec", "-T", "receiver", "cat", f"/var/lib/mintwire/{file}")

    def ids(self) -> dict[str, str]:
        """Return every container with its id."""
        return {line["Name"]: line["ID"] for line in self._listed()}

    def exit_codes(self, services: Iterable[str]) -> dict[str, int]:
        """Return the exit codes of the containers of these services."""
        wanted = set(services)
        return {line["Name"]: line["ExitCode"] for line in self._listed() if line["Service"] in wanted}

    def pids(self, service: str) -> list[int]:
        """Return the first process of each running container of a service, by its pid on the machine."""
        ids = self.compose("ps", "--quiet", service).split()
        shown = self._docker("inspect", "--format", "{{.State.Pid}}", *ids) if ids else ""
        return [int(pid) for pid in shown.split() if pid != "0"]

    def wait_until_healthy(self) -> None:
        """Wait until everything that should run is running and healthy."""
        until(f"everything is healthy: {self._unwell()}", lambda: not self._unwell())

    def _unwell(self) -> list[str]:
        return [
            f"{line['Service']} {line['State']} {line['Health']}"
            for line in self._listed()
            if line["Service"] not in _ONCE and (line["State"], line["Health"]) != ("running", "healthy")
        ]

    def _listed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.compose("ps", "--all", "--format", "json").splitlines()]

    def _docker(self, *arguments: str) -> str:
        folder = os.environ.get("COMPOSE_REAL_FOLDER") or f"{os.environ.get('TMPDIR', '/tmp')}/mintwire-compose-real"  # noqa: S108 - as the script has it
        home = Path(folder) / os.environ.get("COMPOSE_REAL_ENGINE", "classic")
        environment = {**os.environ, "DOCKER_HOST": f"unix://{home}/docker.sock"}
        done = subprocess.run(  # noqa: S603 - the arguments are made here
            ["docker", *arguments],  # noqa: S607 - the machine's own client
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - the arguments are made here
            [str(SCRIPT), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
