"""`docs/operations.md` says of every table of the database how long its rows stay, and who removes them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import asyncpg
import pytest

from services.codes.app import build_removals as codes_removals
from services.codes.config import CodesSettings
from services.dashboard.config import DashboardSettings
from services.dashboard.usecases.remove_old import removals as dashboard_removals
from services.redemption.app import build_removals as redemption_removals
from services.redemption.config import RedemptionSettings
from services.webhooks.config import WebhooksSettings
from services.webhooks.domain.retention import Retention
from services.webhooks.usecases import remove_old
from shared.clock import utc_now
from shared.config import DatabaseSettings
from shared.database import retention
from shared.database.pool import Database as Pool
from tests.architecture.source import ROOT
from tests.databases import SCHEMAS, SERVICES, Database

SETTINGS: dict[str, type[DatabaseSettings]] = {
    "dashboard": DashboardSettings,
    "codes": CodesSettings,
    "redemption": RedemptionSettings,
    "webhooks": WebhooksSettings,
}
TABLES = """
SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
# Rows that go with their event, delivery or letter, when it is published or sent; they are not removed by age.
_WORK = {"sweep_outbox", "claim_deliveries", "dead_overflow", "add_up_stats", "book_commissions"}
_NAME = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Row:
    """One row of the page's table."""

    tables: list[str]
    kept: str
    settings: list[str]
    removers: list[str]


def rows(text: str) -> Iterator[Row]:
    """Read the table."""
    section = text.partition("## What is kept, and for how long\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            yield Row(_NAME.findall(cells[0]), cells[1], _NAME.findall(cells[2]), _NAME.findall(cells[3]))


PAGE = list(rows((ROOT / "docs" / "operations.md").read_text("utf-8")))


def defaults(settings: type[DatabaseSettings]) -> dict[str, int]:
    """Return the settings for days with their defaults."""
    return {name: field.default for name, field in settings.model_fields.items() if name.endswith("_retention_days")}


def removed_tables(service: str) -> set[str]:
    """Return the tables that have a task of their own which removes what is old of them."""
    nowhere = cast("Pool", None)
    settings = SETTINGS[service].model_construct(**cast("dict[str, Any]", defaults(SETTINGS[service])))
    if service == "codes":
        return {each.table for each in codes_removals(nowhere, cast("CodesSettings", settings))}
    if service == "redemption":
        return {each.table for each in redemption_removals(nowhere, cast("RedemptionSettings", settings))}
    days = timedelta(days=1)
    if service == "dashboard":
        return {each.table for each in dashboard_removals(nowhere, utc_now, days)}
    found = remove_old.removals(nowhere, utc_now, Retention(days, days, days))
    return {each.table for each in (*found, *retention.removals(nowhere, utc_now, days, days))}


async def test_every_table_of_the_database_is_there_once_and_no_other(database: Database) -> None:
    """A new table fails here until somebody has said how long its rows stay."""
    connection = await asyncpg.connect(database.admin)
    try:
        tables = [row["name"] for row in await connection.fetch(TABLES)]
    finally:
        await connection.close()
    assert sorted(table for row in PAGE for table in row.tables) == sorted(tables)


@pytest.mark.parametrize("service", SCHEMAS)
def test_who_removes_is_a_task_of_the_service_and_every_task_is_named(service: str) -> None:
    tasks = {f"purge_{table}" for table in removed_tables(service)}
    own = [(table, row) for row in PAGE for table in row.tables if table.startswith(f"{service}.")]
    named = {remover for _, row in own for remover in row.removers}
    assert named - _WORK == tasks
    # What has a task of its own is said to be removed by it.
    for table, row in own:
        if (task := f"purge_{table.partition('.')[2]}") in tasks:
            assert task in row.removers


def test_what_is_not_removed_says_that_it_is_for_good() -> None:
    for row in PAGE:
        assert bool(row.removers) or row.kept.startswith("for good"), row.tables


@pytest.mark.parametrize("service", SCHEMAS)
def test_every_setting_is_named_with_its_default(service: str) -> None:
    prefix = service.upper()
    for name, days in defaults(SETTINGS[service]).items():
        variable = f"{prefix}_{name.upper()}"
        own = [row for row in PAGE if variable in row.settings or f"<SERVICE>_{name.upper()}" in row.settings]
        assert own, variable
        assert all(f"{days} days" in row.kept for row in own), variable


def test_no_other_setting_is_named() -> None:
    known = {f"{service.upper()}_{name.upper()}" for service in SCHEMAS for name in defaults(SETTINGS[service])}
    named = {
        setting.replace("<SERVICE>", service.upper())
        for row in PAGE
        for setting in row.settings
        for service in SERVICES
    }
    assert named == known


@pytest.mark.parametrize(
    ("events", "inbox", "is_right"), [(35, 36, True), (35, 35, False), (60, 61, True), (60, 36, False), (20, 34, False)]
)
@pytest.mark.parametrize("service", SERVICES)
def test_an_inbox_that_is_too_short_is_refused_at_the_start(
    service: str, events: int, inbox: int, is_right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = service.upper()
    for name, value in {
        "DATABASE_URL": "postgresql://x",
        "AMQP_URL": "amqp://x",
        "OPERATOR_TOKEN": "operator-token-for-tests",
        "SECRET_KEY": "dGVzdC1vbmx5LXRlc3Qtb25seS10ZXN0LW9ubHktMTI=",
        "EVENT_RETENTION_DAYS": str(events),
        "INBOX_RETENTION_DAYS": str(inbox),
    }.items():
        monkeypatch.setenv(f"{prefix}_{name}", value)
    if is_right:
        assert getattr(SETTINGS[service](), "inbox_retention_days") == inbox  # noqa: B009 - the dashboard has none
    else:
        with pytest.raises(ValueError, match="inbox_retention_days"):
            SETTINGS[service]()
