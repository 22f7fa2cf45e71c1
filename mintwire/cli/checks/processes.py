"""Whether the local stack's processes stay up, and where the log of a service is."""

from __future__ import annotations

from datetime import datetime, timedelta

from mintwire.cli.checks.findings import Finding, fine, wrong
from mintwire.cli.config import Target
from mintwire.stack import processes
from mintwire.stack.folder import RECEIVER, SERVICES, SHOP, StackFolder
from shared.clock import Clock, utc_now
from shared.times import format_milliseconds

# One crash is an accident; two within this time are a loop.
_LATELY = timedelta(minutes=10)
_NAMES = (*SERVICES, RECEIVER, SHOP, "rabbitmq", "postgres")
_CHECK = "the stack's processes stay up"


def check_processes(target: Target, now: Clock = utc_now) -> list[Finding]:
    """Check for crashes recorded by the supervisor of the local stack, if there is one."""
    if not target.is_stack_up:
        return []
    folder = StackFolder(target.stack_file.parent)
    since = now() - _LATELY
    deaths = {name: [died_at for died_at in folder.deaths(name) if died_at > since] for name in _NAMES}
    loops = [_loop(folder, name, died) for name, died in deaths.items() if len(died) > 1]
    mishaps = ", ".join(f"{name} once" for name, died in deaths.items() if len(died) == 1)
    return loops or [fine(_CHECK, f"died and started again within ten minutes: {mishaps or 'none'}")]


def log_of(target: Target, name: str) -> str:
    """Return where to find the log of a service."""
    folder = StackFolder(target.stack_file.parent)
    is_local = target.is_stack_up and folder.read(target.stack_file.name).get("services", {}).get(name) == target.get(
        f"{name}_url"
    )
    return str(folder.log(name)) if is_local else f"`docker compose logs {name}`, or wherever {name} writes"


def _loop(folder: StackFolder, name: str, died: list[datetime]) -> Finding:
    log = folder.log(name)
    last = processes.tail(log, 1)
    detail = f"{name} died {len(died)} times within ten minutes, last at {format_milliseconds(died[-1])}"
    return wrong(f"{name} stays up", f"{detail}; its log ends: {last}" if last else detail, f"read {log}")
