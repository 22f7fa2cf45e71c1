"""Only processes that the stack started are ever ended, and they are ended."""

import dataclasses
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mintwire.stack import processes

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture
def record_file(tmp_path: Path) -> Path:
    return tmp_path / "process.json"


@pytest.fixture
def started(tmp_path: Path, record_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    child = spawned(SLEEPER, tmp_path, record_file)
    yield child
    child.kill()
    child.wait()


def spawned(argv: list[str], folder: Path, record_file: Path) -> subprocess.Popen[bytes]:
    return processes.spawn(argv, environment={}, log=folder / "log", record=record_file)


def test_a_started_process_is_found_again_by_its_record(started: subprocess.Popen[bytes], record_file: Path) -> None:
    found = processes.load(record_file)
    assert found is not None
    assert found.pid == started.pid


def test_it_has_a_session_of_its_own_so_ctrl_c_does_not_reach_it(started: subprocess.Popen[bytes]) -> None:
    assert os.getsid(started.pid) == started.pid != os.getsid(0)


def test_a_reused_pid_is_not_ours(started: subprocess.Popen[bytes], record_file: Path) -> None:
    """A pid file from yesterday must not end someone else's process."""
    true = processes.record_of(started.pid)
    assert true is not None
    processes.save(record_file, dataclasses.replace(true, started_at_ticks=true.started_at_ticks - 1))
    assert processes.load(record_file) is None
    other = dataclasses.replace(true, boot_id="another boot")
    assert not processes.is_running(other)
    assert processes.end(other)
    assert started.poll() is None


def test_ending_is_kind_first(started: subprocess.Popen[bytes], record_file: Path) -> None:
    record = processes.load(record_file)
    assert record is not None
    assert processes.end(record, child=started)
    assert started.returncode == -signal.SIGTERM
    assert processes.load(record_file) is None
    assert not record_file.exists()


def test_what_ignores_kindness_is_killed(tmp_path: Path, record_file: Path) -> None:
    child = spawned(STUBBORN, tmp_path, record_file)
    while "up" not in (tmp_path / "log").read_text():
        assert child.poll() is None
    record = processes.load(record_file)
    assert record is not None
    assert not processes.end(record, grace_seconds=0.1, child=child)
    assert child.returncode == -signal.SIGKILL


def test_a_zombie_counts_as_gone(started: subprocess.Popen[bytes], record_file: Path) -> None:
    record = processes.load(record_file)
    assert record is not None
    started.kill()
    os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_running(record)


def test_a_broken_record_is_no_record(record_file: Path) -> None:
    record_file.write_text('{"pid": ')
    assert processes.load(record_file) is None


def test_records_and_logs_are_private(started: subprocess.Popen[bytes], tmp_path: Path, record_file: Path) -> None:
    """Logs of servers may contain passwords."""
    for path in (record_file, tmp_path / "log"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
