"""Ends the servers and programs of a benchmark whose own process is gone, for whatever reason.

`python -m bench.watchdog SERVERS LOGS` reads its input, which the benchmark holds open, to the end; then it ends
everything still running by the records in these folders. After a benchmark that ended by itself there is nothing.
"""

import sys
from pathlib import Path

from bench.environment import records
from mintwire.stack import processes
from mintwire.stack.servers import Servers

_GRACE_SECONDS = 5.0


def main(servers: Path, logs: Path) -> None:
    """Wait until the input is closed, then end what is left."""
    sys.stdin.read()
    for path in records(logs).glob("*.json"):
        if record := processes.load(path):
            processes.end(record, grace_seconds=_GRACE_SECONDS)
            path.unlink(missing_ok=True)
    Servers(servers).stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
