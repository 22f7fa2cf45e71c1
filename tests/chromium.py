"""The browser of the tests: the system's own Chromium, installed if it is missing."""

from pathlib import Path
from typing import Final

from mintwire.stack.install import ensure_package
from tests.servers import RUNS, locked

PROGRAM: Final = Path("/usr/bin/chromium")
_HINT: Final = "Chromium is missing: run `apt-get install chromium` as root"


def ensure_chromium() -> None:
    """Install Chromium if it is missing; one process at a time."""
    RUNS.mkdir(exist_ok=True)
    with locked(RUNS / "chromium.lock"):
        ensure_package("chromium", PROGRAM, _HINT)
