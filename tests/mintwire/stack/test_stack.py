"""The stack comes up with one command, survives kills, keeps its data, and leaves nothing behind."""

import asyncio
import json
import os
import pty
import re
import select
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from mintwire.stack import ports
from mintwire.stack.folder import StackFolder
from mintwire.stack.guide import what_next
from tests.mintwire.stack.driven import DEADLINE_SECONDS, Stack, is_all_ready, wait_until
from tests.servers import ROOT

# Makes its standard input the controlling terminal, and becomes Python with the other arguments.
WITH_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # It may be ignored by whoever runs the tests.
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def stack(test_run: Path) -> Iterator[Stack]:
    """A running stack with servers of its own."""
    stack = Stack(test_run / "stack")
    stack.folder.mkdir()
    # As if it had run before: the default ports may be used by something else on this machine.
    chosen: dict[str, int] = {}
    for name in ("codes", "redemption", "webhooks", "receiver", "shop"):
        chosen[name] = ports.free_port(taken=chosen.values())
    (stack.folder / "ports.json").write_text(json.dumps(chosen))
    try:
        stack.up("--no-demo")
        yield stack
    finally:
        stack.run("down")
        stack.run("clean")


@pytest.fixture
def another(test_run: Path) -> Iterator[Stack]:
    """A stack in another folder, deleted at the end with its places outside."""
    another = Stack(test_run / "another-stack")
    yield another
    another.run("down")
    another.run("clean")


def read_until(terminal: int, wanted: bytes) -> bytes:
    """Read from a terminal until the words appear."""
    shown = b""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while wanted not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 65536)
    return shown


def is_all_new(stack: Stack, before: dict[str, int], names: list[str]) -> bool:
    pids = stack.pids()
    return all(pids[name] != before[name] for name in names)


class TestAStackThatIsUp:
    def test_status_says_so(self, stack: Stack) -> None:
        finished = stack.run("status", "--json")
        assert finished.returncode == 0
        assert json.loads(finished.stdout) == stack.status()
        assert is_all_ready(stack)
        assert stack.facts["receiver"]["secret"] not in finished.stdout

    def test_stack_json_tells_everything_to_its_owner_only(self, stack: Stack) -> None:
        assert stat.S_IMODE((stack.folder / "stack.json").stat().st_mode) == 0o600
        facts = stack.facts
        assert set(facts) == {
            *("services", "database_url", "amqp_url", "management_url", "operator_token"),
            *("program", "partner", "shop", "receiver", "sign_ins"),
        }
        assert set(facts["services"]) == {"codes", "redemption", "webhooks", "dashboard", "shop"}
        assert set(facts["shop"]) == {"api_key"}
        assert set(facts["program"]) == set(facts["partner"]) == {"id", "api_key"}
        assert set(facts["receiver"]) == {"url", "secret", "log"}

    def test_no_secret_can_be_read_by_others(self, stack: Stack) -> None:
        """Other users of the machine could act as the operator."""
        facts = stack.facts
        secrets = [
            facts["operator_token"],
            facts["partner"]["api_key"],
            facts["shop"]["api_key"],
            facts["receiver"]["secret"],
        ]
        secrets += [urlsplit(facts[name]).password for name in ("database_url", "amqp_url", "management_url")]
        for path in stack.folder.rglob("*"):
            if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077 and path.stat().st_size < 1_000_000:
                text = path.read_bytes()
                assert not [secret for secret in secrets if secret.encode() in text], path

    def test_nothing_of_it_listens_beyond_loopback(self, stack: Stack) -> None:
        """A development stack would be reachable from the network."""
        hosts = set()
        for process in stack.processes():
            hosts |= {c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        assert hosts
        assert hosts <= {"127.0.0.1", "::1"}

    async def test_the_main_job_works(self, stack: Stack) -> None:
        said = "\n".join(await stack.main_job())
        assert '"event": "code.redeemed"' in said
        assert '"recipient_name": "Sarah"' in said

    def test_every_line_to_try_works(self, stack: Stack) -> None:
        lines = re.findall(r"^  (curl .*)$", what_next(stack.facts, StackFolder(stack.folder)), re.MULTILINE)
        assert len(lines) >= 4
        for line in lines:
            command = [*shlex.split(line), "-s", "--fail"]
            finished = subprocess.run(command, check=False, capture_output=True, text=True)
            assert finished.returncode == 0, line
            assert json.loads(finished.stdout)

    def test_starting_it_again_in_the_background_changes_nothing(self, stack: Stack) -> None:
        """A script that makes sure that the stack is up must not fail because it already is."""
        before, facts = stack.pids(), stack.facts
        said = stack.up()
        assert f"Mintwire is already up in {stack.folder}." in said
        assert f"`STACK_DIR={stack.folder} bin/mintwire stack down` stops it." in said.splitlines()[-1]
        assert json.loads(stack.up("--json")) == facts
        assert (stack.pids(), stack.facts) == (before, facts)

    def test_the_last_line_of_a_start_says_how_to_stop_it(self, stack: Stack) -> None:
        log = (stack.folder / "logs" / "stack.log").read_text()
        assert log.splitlines()[-1] == (
            f"It runs in the background; `STACK_DIR={stack.folder} bin/mintwire stack down` stops it."
        )

    def test_a_second_one_in_the_same_folder_is_refused(self, stack: Stack) -> None:
        finished = stack.run("up")
        assert finished.returncode == 1
        assert "already up" in finished.stderr
        assert stack.run("clean").returncode == 1

    @pytest.mark.parametrize(
        "names", [["codes", "redemption", "webhooks", "receiver", "shop"], ["postgres"], ["rabbitmq"]], ids=str
    )
    async def test_what_is_killed_comes_back_and_the_main_job_works(self, stack: Stack, names: list[str]) -> None:
        """A crash of one part must neither end the stack nor lose what it was doing."""
        before, facts = stack.pids(), stack.facts
        for name in names:
            os.kill(before[name], signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: is_all_ready(stack) and is_all_new(stack, before, names))
        assert stack.facts == facts
        await stack.main_job()
        log = (stack.folder / "logs" / "stack.log").read_text()
        assert all(f"! {name} died; restarting" in log for name in names)
        assert all(StackFolder(stack.folder).deaths(name) for name in names)


class TestAnotherStack:
    """One stack must not affect another."""

    def test_an_interrupt_while_it_starts_leaves_nothing_of_it_behind(self, stack: Stack, another: Stack) -> None:
        """Leftover servers would hold the ports and the data of the next start."""
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "mintwire", "stack", "up"],
            env={**os.environ, "STACK_DIR": str(another.folder)},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        wait_until((another.folder / "rabbitmq" / "process.json").exists)
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(DEADLINE_SECONDS) == 0
        assert another.processes() == []
        assert is_all_ready(stack)

    def test_closing_its_terminal_stops_it(self, stack: Stack, another: Stack) -> None:
        """Every line that it would print fails then, which must not keep anything from being stopped."""
        terminal, inner = pty.openpty()
        supervisor = subprocess.Popen(
            [sys.executable, "-c", WITH_TERMINAL, "-m", "mintwire", "stack", "up", "--no-demo"],
            env={**os.environ, "STACK_DIR": str(another.folder)},
            cwd=ROOT,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)
        shown = read_until(terminal, b"Ctrl-C stops everything")
        assert b"so does `STACK_DIR=" in shown
        assert another.processes()
        os.close(terminal)
        assert supervisor.wait(DEADLINE_SECONDS) in (0, 1)
        assert another.processes() == []
        assert not (another.folder / "stack.json").exists()
        assert is_all_ready(stack)

    def test_it_stops_when_nobody_reads_any_more(self, another: Stack) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "-m", "mintwire", "stack", "up"],
            env={**os.environ, "STACK_DIR": str(another.folder)},
            cwd=ROOT,
            check=False,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (141, "")
        assert another.processes() == []

    def test_when_it_cannot_come_up_it_says_why_and_leaves_nothing_behind(self, tmp_path: Path) -> None:
        given = {"DATABASE_URL": "postgresql://nobody:wrong@127.0.0.1:1/none", "AMQP_URL": "amqp://127.0.0.1:1/none"}
        another = Stack(tmp_path, tuple(given.items()))
        finished = another.run("up")
        assert finished.returncode == 1
        assert "The migrations of codes failed" in finished.stderr
        assert another.processes() == []


class TestAStackThatGoes:
    """In this order: each leaves the stack as the next one needs it."""

    def test_a_killed_supervisor_s_leftovers_are_ended_and_all_is_kept(self, stack: Stack) -> None:
        facts, pids = stack.facts, stack.pids()
        supervisor = stack.status()["supervisor_pid"]
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: not stack.status()["supervisor_pid"])
        assert json.loads(stack.up("--no-demo", "--json")) == facts
        assert stack.facts == facts
        assert not set(pids.values()) & set(stack.pids().values())

    def test_sigterm_to_the_supervisor_ends_everything(self, stack: Stack) -> None:
        supervisor = psutil.Process(stack.status()["supervisor_pid"])
        supervisor.terminate()
        wait_until(lambda: not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE)
        assert stack.processes() == []
        assert not (stack.folder / "stack.json").exists()

    def test_down_after_a_kill_of_the_supervisor_ends_everything(self, stack: Stack) -> None:
        stack.up("--no-demo")
        os.kill(stack.status()["supervisor_pid"], signal.SIGKILL)
        finished = stack.run("down", "--json")
        assert finished.returncode == 0
        assert {"postgres", "rabbitmq", "codes"} <= set(json.loads(finished.stdout)["stopped"])
        assert stack.processes() == []
        assert set(stack.states().values()) == {"down"}

    def test_clean_removes_what_the_stack_made_and_nothing_else(self, stack: Stack) -> None:
        """STACK_DIR may point at a folder with other files."""
        own = stack.folder / "notes.txt"
        own.write_text("mine")
        finished = stack.run("clean", "--json")
        assert finished.returncode == 0
        assert json.loads(finished.stdout) == {"removed": str(stack.folder)}
        assert list(stack.folder.iterdir()) == [own]
        own.unlink()
