"""What a supervisor runs: units that start, stop and report whether they run; this module has the Python processes."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from mintwire.stack import ports, processes
from mintwire.stack.config import ROOT
from mintwire.stack.folder import StackFolder

# A service finishes its work within 20 s of SIGTERM and must not be killed sooner.
_STOP_SECONDS = 25.0


class Unit(Protocol):
    """A process or server; every method may be called again after a crash of either side."""

    name: str

    @property
    def log(self) -> Path:
        """Its log file."""

    @property
    def record(self) -> processes.ProcessRecord | None:
        """Its running process, even if another process started it."""

    @property
    def port(self) -> int:
        """Its loopback port."""

    def start(self) -> None:
        """Start it; a server is usable when this returns."""

    def stop(self) -> None:
        """Stop it cleanly, or else kill it; does nothing if it is down."""

    def is_running(self) -> bool:
        """Return whether its process is running."""

    def is_answering(self) -> bool:
        """Return whether it is ready."""


class ModuleProcess:
    """A child process that runs one of our modules; `/readyz` tells whether it is ready."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        environment: Mapping[str, str],
        folder: StackFolder,
        port: int,
        *,
        host: str = ports.HOST,
    ) -> None:
        self.name = name
        self.port = port
        self._host = host
        self._command = [sys.executable, "-m", *arguments]
        self._environment = environment
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Its log file."""
        return self._folder.log(self.name)

    @property
    def record(self) -> processes.ProcessRecord | None:
        """Its running process, even if another process started it."""
        return processes.load(self._folder.record(self.name))

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self._host}:{self.port}"

    def start(self) -> None:
        """Start the process without waiting until it is ready; stops a leftover of an earlier run first."""
        self.stop()
        self._child = processes.spawn(
            self._command,
            environment=self._environment,
            log=self.log,
            record=self._folder.record(self.name),
            cwd=ROOT,
        )

    def stop(self) -> None:
        """Stop the process; does nothing when it is down."""
        if record := self.record:
            processes.end(record, grace_seconds=_STOP_SECONDS, child=self._child)
        if self._child is not None:
            self._child.poll()

    def is_running(self) -> bool:
        """Return whether the process is running."""
        if self._child is not None:
            self._child.poll()
        return self.record is not None

    def is_answering(self) -> bool:
        """Return whether this very process reports that it is ready."""
        record = self.record
        return record is not None and ports.is_listener(record.pid, self.port) and is_ready(self.port)


def is_ready(port: int) -> bool:
    """Ask `/readyz` on the loopback port."""
    connection = http.client.HTTPConnection(ports.HOST, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
