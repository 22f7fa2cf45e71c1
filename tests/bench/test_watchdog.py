"""A benchmark that is killed leaves nothing running: no server, no program."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from bench.environment import ROOT
from mintwire.stack import processes
from mintwire.stack.servers import Servers
from tests.mintwire.stack.driven import wait_until

BENCHMARK = """
import json, signal, sys
from dataclasses import asdict
from pathlib import Path
from bench.environment import Program, watched
from mintwire.stack import processes
from mintwire.stack.postgres import PostgresServer

folder = Path(sys.argv[1])
with watched(folder, folder):
    server = PostgresServer(folder / "postgres", is_durable=False)
    server.start()
    program = Program(["http.server", "0", "--bind", "127.0.0.1"], log=folder / "log")
    program.pause()
    print(json.dumps([asdict(server.record), asdict(processes.record_of(program.process.pid))]), flush=True)
    signal.pause()
"""


def test_what_a_killed_benchmark_ran_ends_too(test_run: Path) -> None:
    folder = test_run / "killed-benchmark"
    folder.mkdir()
    argv = [sys.executable, "-c", BENCHMARK, str(folder)]
    try:
        with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as benchmark:
            assert benchmark.stdout is not None
            told = json.loads(benchmark.stdout.readline())
            running = [processes.ProcessRecord(**each) for each in told]
            assert [processes.is_running(each) for each in running] == [True, True]
            benchmark.send_signal(signal.SIGKILL)
        wait_until(lambda: not any(processes.is_running(each) for each in running))
    finally:
        left = Servers(folder)
        left.stop()
        left.remove()
