"""Every statement of a store is one that the migrated database understands, for the role that will run it."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from shared.database.rows import Rows
from tests.architecture.source import PythonFile, is_store, parsed, python_files
from tests.architecture.sql_rules import statements
from tests.databases import SCHEMAS, SERVICES, Database

_MIGRATIONS = "shared/database/migrations.py"
# The `app` of every service with events wires its operators' API by it.
_WIRING = "shared/operating.py"


def files_of(service: str) -> list[PythonFile]:
    """Return the service's own store, and the modules of shared.database that it imports, or what it is wired by."""
    own = python_files(f"services/{service}")
    wiring = [file for file in python_files("shared") if file.path == _WIRING and service in SERVICES]
    used = {name for file in (*own, *wiring) for name in _shared_modules(file)}
    return [
        *(file for file in own if is_store(file.path)),
        *(file for file in _shared_files() if Path(file.path).stem in used),
    ]


def _shared_files() -> list[PythonFile]:
    return [file for file in python_files("shared/database") if file.path != _MIGRATIONS]


def _shared_modules(file: PythonFile) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shared.database"):
            yield from (alias.name for alias in node.names)
            yield str(node.module).rpartition(".")[2]


async def _refusals(connection: "asyncpg.Connection[asyncpg.Record]", files: list[PythonFile]) -> list[str]:
    refused = []
    for file in files:
        for name, statement in statements(file).items():
            try:
                await connection.prepare(statement)
            except asyncpg.PostgresError as error:
                refused.append(f"{file.path}: {name}: {error}")
    return refused


@pytest.mark.parametrize("service", SCHEMAS)
async def test_every_statement_prepares(service: str, database: Database) -> None:
    files = files_of(service)
    assert any(statements(file) for file in files)
    connection = await asyncpg.connect(database.role(service), server_settings={"search_path": service})
    try:
        assert not await _refusals(connection, files)
    finally:
        await connection.close()


def test_every_statement_of_shared_database_is_prepared_for_some_service() -> None:
    prepared = {file.path for service in SCHEMAS for file in files_of(service)}
    assert [file.path for file in _shared_files() if statements(file) and file.path not in prepared] == []


async def test_every_statement_of_the_migration_runner_prepares(database: Database) -> None:
    files = [file for file in python_files("shared") if file.path == _MIGRATIONS]
    connection = await asyncpg.connect(database.admin)
    try:
        assert not await _refusals(connection, files)
    finally:
        await connection.close()


async def _lacking(connection: "asyncpg.Connection[asyncpg.Record]", file: PythonFile) -> list[str]:
    """Return the columns that records need and that no statement has which the same function runs."""
    texts = statements(file)
    module = importlib.import_module(file.path.removesuffix(".py").replace("/", "."))
    lacking = []
    for function in ast.walk(file.tree):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        run = [texts[name] for name in names if name in texts]
        found = {each.name for text in run for each in (await connection.prepare(text)).get_attributes()}
        made = {name: rows for name in names if isinstance(rows := getattr(module, name, None), Rows)} if run else {}
        lacking += [
            f"{file.path}: {function.name}: {name} needs {sorted(rows.columns - found)}"
            for name, rows in made.items()
            if rows.columns - found
        ]
    return lacking


@pytest.mark.parametrize("service", SCHEMAS)
async def test_every_record_is_made_of_columns_that_are_there(service: str, database: Database) -> None:
    connection = await asyncpg.connect(database.role(service), server_settings={"search_path": service})
    try:
        assert [each for file in files_of(service) for each in await _lacking(connection, file)] == []
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "statement",
    ["SELECT missing FROM codes.redeemable_v1", "UPDATE dashboard.accounts SET id = id", "SELECT $1 +"],
    ids=["a column that is not there", "a table of another service", "a slip of the pen"],
)
async def test_a_planted_statement_is_refused(statement: str, database: Database) -> None:
    file = parsed("services/codes/store.py", f"PLANTED = {statement!r}\n")
    connection = await asyncpg.connect(database.codes, server_settings={"search_path": "codes"})
    try:
        assert await _refusals(connection, [file])
    finally:
        await connection.close()
