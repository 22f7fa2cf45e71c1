"""Schemathesis against each service as it runs: what its API document allows is taken, what it forbids is refused.

It reads the document that the service itself serves, so every route is covered by being there.
"""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from shared.signing_keys import private_jwk
from tests.accounts import DASHBOARD
from tests.contracts.seeding import seed
from tests.databases import SERVICES, Database
from tests.running import running_services
from tests.servers import ROOT

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
COMMAND = Path(sys.executable).with_name("schemathesis")
# Keys have tried all shapes of requests; accounts take the same code from where they are let in.
ACCOUNTS_ARGUMENTS = ("--phases", "examples,fuzzing", "--max-examples", "2")
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


@pytest.mark.timeout(DEADLINE_SECONDS + 60)
@pytest.mark.parametrize("service", SERVICES)
async def test_it_does_so_for_accounts_too(
    service: str, database: Database, clean_broker: dict[str, str], tmp_path: Path
) -> None:
    names = dict.fromkeys(("codes", service))
    settings = {f"{service.upper()}_ACCOUNT_KEYS": DASHBOARD.jwks}
    signer = DASHBOARD.signer
    private = json.dumps(private_jwk(signer.private_key, signer.key_id, signer.issuer))
    # With keys in its configuration, schemathesis would ask by these.
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(re.sub(r"\[auth\.[^\[]*", "", CONFIGURATION.read_text()))
    async with running_services(database, clean_broker, names=names, settings=settings) as running:
        values = await seed(running) | {"DASHBOARD_SIGNING_KEY": private, "SERVICE": service}
        arguments = [f"{running[service].url}/openapi.json", *ACCOUNTS_ARGUMENTS]
        finished = await asyncio.to_thread(_schemathesis, arguments, values, configuration)
        said = running[service].said()
        assert finished.returncode == 0, f"{finished.stdout}{finished.stderr}\n{said}"
        # Otherwise each request might have been refused.
        assert re.search(r"account_id[^\n]*status\W+20\d", said)


def _schemathesis(
    arguments: Sequence[str], values: Mapping[str, str], configuration: Path = CONFIGURATION
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "--config-file", configuration, "run", "--no-color", *arguments],
        env={**os.environ, **values, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        timeout=DEADLINE_SECONDS,
        check=False,
        capture_output=True,
        text=True,
    )
