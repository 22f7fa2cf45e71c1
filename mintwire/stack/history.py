"""Fills the demo of a running stack with a made-up history: each service writes its own part, from the same seed."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta

from mintwire.stack.config import ROOT, StackSettings
from mintwire.stack.errors import ServerFailed, StackError
from mintwire.stack.folder import HISTORY_EVENTS, HISTORY_FILE, StackFolder
from mintwire.stack.plan import StackPlan
from mintwire.stack.supervisor import Say
from shared.clock import utc_now
from shared.times import format_milliseconds

# Redemption needs the codes, and the last two its events: codes comes again for the uses that they report.
_STEPS = (("codes",), ("redemption",), ("codes", "webhooks"))


@dataclass(frozen=True)
class History:
    """What a history is made of; the same history is the same in every detail."""

    program_id: str
    days: int
    codes: int
    seed: int
    until: str


def fill(settings: StackSettings, days: int, codes: int, seed: int, say: Say) -> History:
    """Write the history, or finish one that was interrupted; a repeat adds nothing.

    Raises `StackError` without a running stack, for another history than the one that is there, and if a part fails.
    """
    folder = StackFolder(settings.folder)
    stack = folder.read(folder.stack_file.name)
    if "program" not in stack:
        raise StackError("No stack is up; start one with `mintwire stack up`")
    history = _history(folder, stack["program"]["id"], days, codes, seed)
    events = folder.path / HISTORY_EVENTS
    plan = StackPlan(settings)
    with ThreadPoolExecutor() as pool:
        for names in _STEPS:
            for done in pool.map(lambda name: _run(plan, name, history, str(events)), names):
                say(done)
    events.unlink(missing_ok=True)
    return history


def _history(folder: StackFolder, program_id: str, days: int, codes: int, seed: int) -> History:
    """Return the history of the program, which ends when it was first asked for."""
    ends_at = utc_now().replace(minute=0, second=0, microsecond=0)
    wanted = History(program_id, days, codes, seed, format_milliseconds(ends_at))
    if known := folder.read(HISTORY_FILE):
        there = History(**known)
        if there.program_id == program_id:
            if (there.days, there.codes, there.seed) != (days, codes, seed):
                raise StackError(
                    f"The demo has a history already: {there.days} days, {there.codes} codes, seed {there.seed}. "
                    "`stack clean` deletes it with everything else."
                )
            return there
    folder.write(HISTORY_FILE, asdict(wanted))
    return wanted


def _run(plan: StackPlan, name: str, history: History, events: str) -> str:
    finished = subprocess.run(
        [
            *(sys.executable, "-m", f"services.{name}", "demo"),
            *("--program", history.program_id, "--until", history.until, "--events", events),
            *("--days", str(history.days), "--codes", str(history.codes), "--seed", str(history.seed)),
        ],
        env=plan.service_environment(name, plan.known_port(name)),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timedelta(minutes=10).total_seconds(),
    )
    if finished.returncode != 0:
        raise ServerFailed(finished.stderr.strip().splitlines()[-1] if finished.stderr.strip() else f"{name} failed")
    return finished.stdout.strip().splitlines()[-1]
