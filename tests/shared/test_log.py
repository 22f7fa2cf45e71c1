"""The line that every request leaves, written past structlog, must read like structlog's own lines."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
from shared import log
log.configure("codes", "{level}", "{form}")
log.line_writer("http_request")(status=200, route="/v1/things")
log.get_logger().info("other_fact", status=201)
"""


def _lines(level: str, form: str) -> list[str]:
    program = PROGRAM.format(level=level, form=form)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.splitlines()


def test_direct_line_has_the_members_of_a_structlog_line() -> None:
    direct, ordinary = (json.loads(line) for line in _lines("info", "json"))
    assert direct.keys() - {"route"} == ordinary.keys()
    assert {name: direct[name] for name in ("event", "level", "service", "status", "route")} == {
        "event": "http_request",
        "level": "info",
        "service": "codes",
        "status": 200,
        "route": "/v1/things",
    }
    assert len(direct["timestamp"]) == len(ordinary["timestamp"])


def test_direct_line_obeys_level_and_format() -> None:
    assert _lines("warning", "json") == []
    console = _lines("info", "console")
    assert len(console) == 2
    assert "http_request" in console[0]
