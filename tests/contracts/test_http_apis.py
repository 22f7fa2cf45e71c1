"""Schemathesis against each service as it runs: what its API document allows is taken, what it forbids is refused.

It reads the document that the service itself serves, so every route is covered by being there.
"""

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.contracts.seeding import seed
from tests.databases import SERVICES, Database
from tests.running import running_services
from tests.servers import ROOT

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
COMMAND = (Path(sys.executable).with_name("schemathesis"), "--config-file", CONFIGURATION, "run", "--no-color")
# For a longer look than the daily one, for example `--max-examples 300 --seed 7`.
MORE_ARGUMENTS = "SCHEMATHESIS_ARGUMENTS"
DEADLINE_SECONDS = 300


@pytest.mark.timeout(DEADLINE_SECONDS + 60)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_does_what_its_document_says(
    service: str, database: Database, clean_broker: dict[str, str]
) -> None:
    names = dict.fromkeys(("codes", service))
    async with running_services(database, clean_broker, names=names) as running:
        values = await seed(running)
        arguments = [f"{running[service].url}/openapi.json", *shlex.split(os.environ.get(MORE_ARGUMENTS, ""))]
        finished = await asyncio.to_thread(_schemathesis, arguments, values)
        assert finished.returncode == 0, f"{finished.stdout}{finished.stderr}\n{running[service].said()}"


def _schemathesis(arguments: Sequence[str], values: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, **values, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        timeout=DEADLINE_SECONDS,
        check=False,
        capture_output=True,
        text=True,
    )
