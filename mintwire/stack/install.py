"""Installs servers with the system's package manager, without starting a system service."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mintwire.stack.errors import MissingSoftware
from mintwire.stack.rabbitmq import PROGRAM

_POLICY = Path("/usr/sbin/policy-rc.d")
# The package's install script starts a default broker unless this file forbids it.
_REFUSE_STARTS = "#!/bin/sh\n# Written by mintwire while it installs rabbitmq-server; removed right after.\nexit 101\n"
_HINT = "RabbitMQ is missing: run `apt-get install rabbitmq-server` as root, give AMQP_URL, or use `docker compose up`"


def ensure_rabbitmq() -> None:
    """Install the rabbitmq-server package if its programs are missing and this account may install it."""
    ensure_package("rabbitmq-server", PROGRAM, _HINT)


def ensure_package(package: str, program: Path, hint: str) -> None:
    """Install a package of the system if its program is missing, without starting the package's own service.

    Raises MissingSoftware with the hint if this account may not install it, or it has no such program.
    """
    if program.exists():
        return
    prefix = _root_prefix()
    if prefix is None or shutil.which("apt-get") is None:
        raise MissingSoftware(hint)
    print(f"{program.name} is missing; installing the package {package} (no system service will be started)")
    with _starts_refused(prefix):
        for arguments in (("update", "-q"), ("install", "-y", "-q", "--no-install-recommends", package)):
            _apt(prefix, arguments, hint)
    if not program.exists():
        raise MissingSoftware(f"The package {package} was installed, but {program} is missing. {hint}")


def _root_prefix() -> list[str] | None:
    """Return the prefix that runs a command as root; None if this account may not."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    allowed = subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode == 0
    return ["sudo", "-n"] if allowed else None


@contextmanager
def _starts_refused(prefix: list[str]) -> Iterator[None]:
    if _POLICY.exists():
        yield
        return
    with tempfile.NamedTemporaryFile("w", suffix="-policy") as file:
        file.write(_REFUSE_STARTS)
        file.flush()
        subprocess.run([*prefix, "install", "-m", "755", file.name, str(_POLICY)], check=True)
    try:
        yield
    finally:
        if _POLICY.exists() and _POLICY.read_text() == _REFUSE_STARTS:
            subprocess.run([*prefix, "rm", "-f", str(_POLICY)], check=True)


def _apt(prefix: list[str], arguments: tuple[str, ...], hint: str) -> None:
    command = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *arguments]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode != 0:
        raise MissingSoftware(f"`apt-get {' '.join(arguments)}` failed. {hint}")
