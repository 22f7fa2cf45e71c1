"""What the service's login role may do, and how its statements find their rows."""

import json
import re
from typing import Any

import asyncpg
import pytest

from services.redemption.store import (
    commission_ledger,
    commission_payments,
    commission_statements,
    counts,
    customer_jobs,
    customers,
    history,
    locks,
    orders,
    outcomes,
    redemptions,
    rejections,
    retention,
    stats,
    terms,
)
from shared.database.rows import Statement
from tests.databases import Database

TABLES = """
SELECT n.nspname || '.' || c.relname AS name,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS may_read,
       has_schema_privilege(n.oid, 'USAGE') AND (has_table_privilege(c.oid, 'INSERT')
           OR has_table_privilege(c.oid, 'UPDATE') OR has_table_privilege(c.oid, 'DELETE')
           OR has_table_privilege(c.oid, 'TRUNCATE')) AS may_write
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
STATEMENTS = {
    f"{store.__name__.rpartition('.')[2]}.{name}": text.text if isinstance(text, Statement) else text
    for store in (
        *(commission_ledger, commission_payments, commission_statements, counts),
        *(customer_jobs, customers, history, locks, orders, outcomes),
        *(redemptions, rejections, retention, stats, terms),
    )
    for name, text in vars(store).items()
    if name.isupper() and name[0] != "_" and isinstance(text, str | Statement)
    # `test_stats_bounded` measures those of statistics, which read through a view.
    if not (store is stats and isinstance(text, Statement))
}
SCHEMAS = """
SELECT nspname FROM pg_namespace
WHERE has_schema_privilege(oid, 'CREATE') AND nspname NOT LIKE 'pg\\_temp%' AND nspname NOT LIKE 'pg\\_toast%'
"""


async def test_the_role_touches_its_schema_and_the_views_published_for_it_and_nothing_else(database: Database) -> None:
    connection = await asyncpg.connect(database.redemption)
    try:
        rows = await connection.fetch(TABLES)
        may_create = [row["nspname"] for row in await connection.fetch(SCHEMAS)]
    finally:
        await connection.close()
    others = {row["name"] for row in rows if row["may_read"] and not row["name"].startswith("redemption.")}
    parts = {f"{service}.customer_{name}_v1" for service in ("codes", "webhooks") for name in ("parts", "lines")}
    assert (
        others
        == {
            f"codes.{view}_v1"
            for view in ("redeemable", "credential", "tenant", "coupon", "erased_events", "demo_program")
        }
        | parts
    )
    assert all(row["name"].startswith("redemption.") for row in rows if row["may_write"])
    assert {"codes.promotion_codes", "codes.api_keys"} <= {row["name"] for row in rows if not row["may_read"]}
    assert may_create == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM redemptions",
        "UPDATE redemptions SET code = ''",
        "DELETE FROM events",
        "DELETE FROM inbox",
        "DELETE FROM refunds",
        "DELETE FROM rejections",
        "UPDATE rejections SET reason = ''",
        "UPDATE commission_lines SET amount_minor = 0",
        "DELETE FROM commission_lines",
        "DELETE FROM commission_statements",
        "UPDATE commission_payments SET amount_minor = 0",
        "DELETE FROM commission_payments",
    ],
)
async def test_what_was_written_stays(statement: str, database: Database) -> None:
    connection = await asyncpg.connect(database.redemption, server_settings={"search_path": "redemption"})
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "statement",
    STATEMENTS.values(),
    ids=STATEMENTS,
)
async def test_no_statement_reads_a_growing_table_from_end_to_end(statement: str, database: Database) -> None:
    """The plan is kept while tables grow; on fresh tables it must be the one that still fits ten million codes."""
    connection = await asyncpg.connect(
        database.admin,
        # As the service's own pool; on an empty table a scan would be cheapest.
        server_settings={
            "search_path": "redemption",
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
        },
    )
    try:
        await connection.execute(f"PREPARE checked AS {statement}")
        nothing = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", statement))))
        given = f"({nothing})" if nothing else ""
        plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE checked {given}"))
    finally:
        await connection.close()
    growing = {
        *("promotion_codes", "redemptions", "orders", "code_counters", "customer_counters", "holds", "refunds"),
        *("rejections", "commission_lines", "commission_statements", "commission_payments"),
    }
    assert not growing & set(scanned(plan[0]["Plan"]))


def scanned(node: dict[str, Any]) -> list[str]:
    """Return the tables that a plan scans sequentially."""
    own = [node["Relation Name"]] if node["Node Type"] == "Seq Scan" else []
    return own + [name for child in node.get("Plans", []) for name in scanned(child)]
