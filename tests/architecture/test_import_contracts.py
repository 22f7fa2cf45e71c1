"""The import contracts hold on this tree, and each of them catches a planted import."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

CONFIGURATION = ROOT / "pyproject.toml"
SERVICES = ("codes", "redemption", "webhooks", "dashboard")
_SERVICE_MODULES = (
    "__main__ app config consumers dispatcher migrations sender clients store api usecases domain integrations".split()  # noqa: SIM905 - a list of names reads best as one line
)
_SHARED_MODULES = (
    "service",
    "process",
    "readiness",
    "web",
    "database",
    "events",
    "faults",
    "clock",
    "times",
    "broker/publisher",
    "broker/relay",
)
_MINTWIRE_MODULES = ("__main__", "cli/run", "stack/postgres", "client")

PLANTED = [
    ("tree", "shared/clock.py", "services.codes.domain"),
    ("tree", "services/codes/app.py", "mintwire.client"),
    ("services-apart", "services/codes/usecases.py", "services.webhooks.domain"),
    ("service-layers", "services/codes/domain.py", "services.codes.store"),
    ("service-layers", "services/codes/store.py", "services.codes.usecases"),
    ("service-layers", "services/webhooks/api.py", "services.webhooks.dispatcher"),
    ("service-layers", "services/webhooks/helpers.py", "json"),
    ("shared-layers", "shared/process.py", "shared.service"),
    ("shared-layers", "shared/events/__init__.py", "shared.broker"),
    ("shared-layers", "shared/web/__init__.py", "shared.database"),
    ("shared-layers", "shared/helpers.py", "json"),
    ("service-layers", "services/dashboard/clients.py", "services.dashboard.usecases"),
    ("settings", "services/codes/usecases.py", "services.codes.config"),
    ("publisher", "services/codes/usecases.py", "shared.broker.publisher"),
    ("domain-pure", "services/codes/domain.py", "pydantic"),
    ("domain-pure", "services/codes/domain.py", "shared.clock"),
    ("events-pydantic-only", "shared/events/__init__.py", "aiohttp"),
    ("cli-without-database", "mintwire/cli/run.py", "shared.database"),
    ("handlers-without-sql", "services/codes/api.py", "services.codes.store"),
    ("handlers-without-sql", "services/codes/consumers.py", "shared.database"),
    ("asyncpg", "services/codes/usecases.py", "asyncpg"),
    ("asyncpg", "shared/web/__init__.py", "asyncpg"),
    ("aio-pika", "services/codes/consumers.py", "aio_pika"),
    ("aiohttp", "services/codes/usecases.py", "aiohttp"),
    ("aiohttp", "shared/broker/relay.py", "aiohttp"),
    ("no-cycles", "shared/faults.py", "shared.clock"),
]


def _contract_ids() -> set[str]:
    configured = tomllib.loads(CONFIGURATION.read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    return {contract["id"] for contract in configured}


def _lint(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--config", str(CONFIGURATION)]
    return subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False)


def _write(folder: Path, module: str, content: str = "") -> None:
    path = folder / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    for parent in path.relative_to(folder).parents:
        if str(parent) != "." and not (folder / parent / "__init__.py").exists():
            (folder / parent / "__init__.py").write_text("")
    path.write_text(content)


@pytest.fixture
def small_tree(tmp_path: Path) -> Path:
    """A tree of the same shape as ours, whose modules are all but empty."""
    for service in SERVICES:
        for module in _SERVICE_MODULES:
            _write(tmp_path, f"services/{service}/{module}")
    for module in _SHARED_MODULES:
        _write(tmp_path, f"shared/{module}")
    for module in _MINTWIRE_MODULES:
        _write(tmp_path, f"mintwire/{module}")
    for package in ("web", "database", "events"):
        (tmp_path / f"shared/{package}.py").unlink()
        _write(tmp_path, f"shared/{package}/__init__")
    # One half of the circle that a planted import closes.
    (tmp_path / "shared/clock.py").write_text("import shared.faults\n")
    return tmp_path


def test_the_tree_keeps_the_contracts() -> None:
    done = _lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_tree_without_faults_keeps_the_contracts(small_tree: Path) -> None:
    done = _lint(small_tree)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("contract", "path", "imported"), PLANTED)
def test_a_planted_import_breaks_its_contract(small_tree: Path, contract: str, path: str, imported: str) -> None:
    with (small_tree / path).open("a") as file:
        file.write(f"import {imported}\n")
    done = _lint(small_tree, "--contract", contract)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout, done.stdout + done.stderr


def test_every_contract_has_a_planted_import() -> None:
    assert {contract for contract, _, _ in PLANTED} == _contract_ids()
