"""Starts processes and keeps a record of each, so that only processes of the stack are ever ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ProcessRecord:
    """A process as the kernel identifies it: a pid alone may by now belong to another process."""

    pid: int
    started_at_ticks: int
    boot_id: str


@dataclass(frozen=True)
class Account:
    """The account of a child process that must not run as root."""

    uid: int
    gid: int


def record_of(pid: int) -> ProcessRecord | None:
    """Return the record of a live process; None if there is none, or only a zombie."""
    ticks = _started_at_ticks(pid)
    return None if ticks is None else ProcessRecord(pid, ticks, _boot_id())


def is_running(record: ProcessRecord) -> bool:
    """Return whether exactly this process is still running."""
    return record.boot_id == _boot_id() and _started_at_ticks(record.pid) == record.started_at_ticks


def save(path: Path, record: ProcessRecord) -> None:
    """Write the record atomically."""
    write_private(path, json.dumps(asdict(record)))


def load(path: Path) -> ProcessRecord | None:
    """Read a record if it exists and its process is still running; removes a stale file."""
    try:
        record = ProcessRecord(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        path.unlink(missing_ok=True)
        return None
    if is_running(record):
        return record
    path.unlink(missing_ok=True)
    return None


def spawn(
    argv: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    record: Path,
    account: Account | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that Ctrl-C on the terminal does not reach it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as output:
        child = subprocess.Popen(
            [str(part) for part in argv],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=cwd,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    described = record_of(child.pid)
    if described is not None:
        save(record, described)
    return child


def end(
    record: ProcessRecord,
    *,
    first: signal.Signals = signal.SIGTERM,
    grace_seconds: float = 20,
    child: subprocess.Popen[bytes] | None = None,
) -> bool:
    """Stop the recorded process, gracefully first; return whether it ended without being killed."""
    for number, patience in ((first, grace_seconds), (signal.SIGKILL, 10.0)):
        if not _send(record, number):
            break
        if _wait_gone(record, patience, child):
            return number == first
    _wait_gone(record, 0, child)
    return True


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically; only its owner may read it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _send(record: ProcessRecord, number: signal.Signals) -> bool:
    """Signal the process through a handle on it, so that a reused pid cannot be hit."""
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_running(record):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _wait_gone(record: ProcessRecord, seconds: float, child: subprocess.Popen[bytes] | None) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        # A child process is gone when it is reaped; others can only be observed.
        if (child.poll() is not None) if child is not None and child.pid == record.pid else not is_running(record):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)


def _started_at_ticks(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may itself contain blanks and parentheses, hence the last one.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" and not _has_threads(pid) else int(fields[19])


def _has_threads(pid: int) -> bool:
    """Return whether a process lives on after its first thread, which then looks like a zombie."""
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
