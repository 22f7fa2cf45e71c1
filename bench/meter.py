"""The CPU time of programs and both servers."""

import time
from collections.abc import Mapping

import psutil

from bench.environment import Environment, Program


class Meter:
    """CPU seconds used by programs and by both servers since creation."""

    def __init__(self, env: Environment, programs: Mapping[str, Program]) -> None:
        postgres, rabbitmq = env.servers.postgres.record, env.servers.rabbitmq.record
        assert postgres is not None
        assert rabbitmq is not None
        pids = {name: program.process.pid for name, program in programs.items()}
        self._roots = {**pids, "postgresql": postgres.pid, "rabbitmq": rabbitmq.pid}
        self._before = self._read()
        self._began = time.monotonic()

    def _read(self) -> dict[str, float]:
        return {name: _tree_seconds(pid) for name, pid in self._roots.items()}

    def microseconds_per(self, count: int) -> dict[str, int]:
        """Return the CPU time of each per piece of work."""
        now = self._read()
        return {name: round((now[name] - before) / count * 1e6) for name, before in self._before.items()}

    def percent_of_a_core(self) -> dict[str, float]:
        """Return how much of one core each used."""
        now, seconds = self._read(), time.monotonic() - self._began
        return {name: round((now[name] - before) / seconds * 100, 1) for name, before in self._before.items()}


def _tree_seconds(pid: int) -> float:
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
