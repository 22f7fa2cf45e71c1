"""Stops a stack from outside, shows its status, and removes its data; it touches only what its records name."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mintwire.stack import processes
from mintwire.stack.config import ROOT, StackSettings
from mintwire.stack.errors import ServerFailed, StackInUse
from mintwire.stack.folder import RECEIVER, SERVICES, SETTLED_FILE, SHOP, StackFolder
from mintwire.stack.guide import how_to_stop
from mintwire.stack.plan import leftovers
from mintwire.stack.supervisor import Say
from mintwire.stack.units import is_ready

# The sum of what each unit may take, and some more.
_STOP_SECONDS = 180.0
_DETACHED_LOG = "stack"


def down(settings: StackSettings) -> list[str]:
    """Stop the stack and whatever an ended supervisor left behind; return the names of the stopped units."""
    folder = StackFolder(settings.folder)
    stopped = []
    if record := processes.load(folder.supervisor_file):
        processes.end(record, grace_seconds=_STOP_SECONDS)
        folder.supervisor_file.unlink(missing_ok=True)
        stopped.append("supervisor")
    for unit in leftovers(folder):
        if unit.is_running():
            stopped.append(unit.name)
        # Even if it is down: the broker's name registry may have outlived it.
        unit.stop()
    folder.stack_file.unlink(missing_ok=True)
    return stopped


def clean(settings: StackSettings) -> None:
    """Delete all data of the stack; raises `StackInUse` while it is up."""
    folder = StackFolder(settings.folder)
    if processes.load(folder.supervisor_file):
        raise StackInUse(f"The stack in {folder.path} is up; run `stack down` first")
    down(settings)
    folder.remove()


def status(settings: StackSettings) -> dict[str, Any]:
    """Describe the stack: whether it is up, and each process with its state."""
    folder = StackFolder(settings.folder)
    supervisor = processes.load(folder.supervisor_file)
    stack = folder.read(folder.stack_file.name)
    known = folder.read("ports.json")
    units = []
    for unit in reversed(leftovers(folder)):
        record = unit.record
        if unit.name in (*SERVICES, RECEIVER, SHOP):
            answers = record is not None and is_ready(known.get(unit.name, 0))
        else:
            answers = record is not None and unit.is_answering()
        state = "down" if record is None else "ready" if answers else "not ready"
        units.append({"name": unit.name, "pid": record.pid if record else None, "state": state})
    return {
        "folder": str(folder.path),
        "is_up": supervisor is not None and bool(stack),
        "supervisor_pid": supervisor.pid if supervisor else None,
        "services": stack.get("services", {}),
        "servers": _given_or_private(stack),
        "processes": units,
    }


def up_detached(settings: StackSettings, arguments: Sequence[str], say: Say) -> dict[str, Any]:
    """Start a supervisor in the background, and show its output until the stack is up.

    A stack that is already up or starting stays as it is. Returns the content of `stack.json`.
    """
    folder = StackFolder(settings.folder)
    folder.prepare()
    if (supervisor := processes.load(folder.supervisor_file)) is not None:
        return _joined(folder, supervisor, say)
    log = folder.log(_DETACHED_LOG)
    start = log.stat().st_size if log.exists() else 0
    child = processes.spawn(
        [sys.executable, "-m", "mintwire", "stack", "up", "--in-background", *arguments],
        environment={**settings.environment, "STACK_DIR": str(settings.folder), "PYTHONUNBUFFERED": "1"},
        log=log,
        record=folder.record("detached"),
        cwd=ROOT,
    )
    while child.poll() is None and not _is_settled(folder, child.pid):
        start = _show(log, start, say)
        time.sleep(0.1)
    _show(log, start, say)
    if child.poll() is not None:
        # Another process may have been a moment quicker.
        if (supervisor := processes.load(folder.supervisor_file)) is not None:
            return _joined(folder, supervisor, say)
        raise ServerFailed(f"The stack did not come up; its log: {log}")
    # It is meant to outlive this process.
    child.returncode = 0
    return folder.read(folder.stack_file.name)


def _joined(folder: StackFolder, supervisor: processes.ProcessRecord, say: Say) -> dict[str, Any]:
    """Wait until a stack started by another process is up."""
    while processes.is_running(supervisor) and not _is_settled(folder, supervisor.pid):
        time.sleep(0.1)
    if not processes.is_running(supervisor):
        raise ServerFailed(f"The stack that was starting in {folder.path} did not come up; see {folder.path / 'logs'}")
    say(f"Mintwire is already up in {folder.path}.")
    say(how_to_stop(folder, is_in_background=True))
    return folder.read(folder.stack_file.name)


def _is_settled(folder: StackFolder, pid: int) -> bool:
    return folder.read(SETTLED_FILE).get("pid") == pid


def _show(log: Path, start: int, say: Say) -> int:
    """Print the complete lines that were written since."""
    with log.open("rb") as file:
        file.seek(start)
        lines, end, _ = file.read().rpartition(b"\n")
    if end:
        say(lines.decode(errors="replace"))
    return start + len(lines + end)


def _given_or_private(stack: Mapping[str, Any]) -> dict[str, str]:
    """Return the addresses of the servers without the secrets in their URLs."""
    named = {"database": stack.get("database_url"), "broker": stack.get("amqp_url")}
    return {name: urlsplit(url).netloc.rpartition("@")[2] for name, url in named.items() if url}
