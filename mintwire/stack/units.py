"""What a supervisor runs: a thing that starts, stops, and can be seen to run; here the Python processes among them."""

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

# A service finishes what is in hand within 20 s of SIGTERM; killing it sooner would be our fault.
_STOP_SECONDS = 25.0


class Unit(Protocol):
    """One process or server; every method may be called again after a crash of either side."""

    name: str

    @property
    def log(self) -> Path:
        """Where it writes."""

    @property
    def record(self) -> processes.ProcessRecord | None:
        """Its running process, whoever started it."""

    @property
    def port(self) -> int:
        """Its loopback port."""

    def start(self) -> None:
        """Start it; a server is usable when this returns."""

    def stop(self) -> None:
        """Stop it cleanly, and hard if that fails; does nothing when it is down."""

    def is_running(self) -> bool:
        """Tell whether its process is there."""

    def is_answering(self) -> bool:
        """Tell whether it serves."""


class ModuleProcess:
    """A child that runs one of our own modules and tells by `/readyz` whether it serves."""

    def __init__(
        self, name: str, arguments: list[str], environment: Mapping[str, str], folder: StackFolder, port: int
    ) -> None:
        self.name = name
        self.port = port
        self._command = [sys.executable, "-m", *arguments]
        self._environment = environment
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self._folder.log(self.name)

    @property
    def record(self) -> processes.ProcessRecord | None:
        """Its running process, whoever started it."""
        return processes.load(self._folder.record(self.name))

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{ports.HOST}:{self.port}"

    def start(self) -> None:
        """Start the process without waiting until it serves; a leftover of an earlier run is ended first."""
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
        """Tell whether the process is there."""
        if self._child is not None:
            self._child.poll()
        return self.record is not None

    def is_answering(self) -> bool:
        """Tell whether this very process says that it is ready."""
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
