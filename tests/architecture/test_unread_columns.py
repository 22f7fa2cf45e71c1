"""No column is written that nothing reads: what no statement needs the right to read is dropped, or shown."""

import re
from collections.abc import Sequence

import asyncpg
import pytest

from tests.architecture.source import PythonFile
from tests.architecture.sql_rules import statements
from tests.architecture.test_sql_prepares import files_of
from tests.databases import SCHEMAS, Database

COLUMNS = """
SELECT c.relname AS table_name, a.attname AS name, a.attgenerated <> '' AS is_generated
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY 1, 2
"""
# What a published view shows is read by others, and what a function of the database needs, by that.
READ_ELSEWHERE = """
SELECT DISTINCT c.relname AS table_name, a.attname AS name
FROM pg_depend d
JOIN pg_class c ON c.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
WHERE c.relnamespace = $1::regnamespace AND d.refobjsubid > 0
  AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)
"""
# What is kept all the same, with the reason.
SEAL_FORMS = {
    "closed_seal_forms.closed_at": "when a form was closed is looked up by hand where sealed texts are refused"
}
KEPT = {
    "codes": {
        **SEAL_FORMS,
        "job_uploads.starts_at": "nothing writes it any more; processes of the release before may, until it is dropped",
    },
    "dashboard": {},
    "redemption": {
        "refunds.recorded_at": "support looks up by hand when we heard of a refund",
        "rejections.coupon_id": "the triggers of statistics read it in what a statement has written",
    },
    "webhooks": {
        **SEAL_FORMS,
        "endpoint_rates.full_at": "nothing writes it any more; processes of the release before may, till it is dropped",
    },
}


async def unread(connection: "asyncpg.Connection[asyncpg.Record]", service: str, files: list[PythonFile]) -> list[str]:
    """Return the columns of a schema that every statement can do without, as the server judges its rights.

    A right to read is checked before a statement runs; one that only writes a column does not need it.
    """
    columns = await connection.fetch(COLUMNS, service)
    elsewhere = {(row["table_name"], row["name"]) for row in await connection.fetch(READ_ELSEWHERE, service)}
    texts = [text for file in files for text in statements(file).values()]
    explained = [(text, await _prepared(connection, nth, text)) for nth, text in enumerate(texts)]
    found = []
    for table, name, _ in columns:
        if (table, name) in elsewhere:
            continue
        others = [row["name"] for row in columns if row["table_name"] == table and row["name"] != name]
        if not await _is_read(connection, service, table, name, others, explained):
            found.append(f"{table}.{name}")
    return found


async def _is_read(
    connection: "asyncpg.Connection[asyncpg.Record]",
    service: str,
    table: str,
    name: str,
    others: list[str],
    explained: Sequence[tuple[str, str]],
) -> bool:
    """Take the right to read one column away, and see whether a statement that could mean it is refused."""
    role = f"mintwire_{service}"
    meant = re.compile(rf"\b{name}\b|\*")
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"REVOKE SELECT ON {service}.{table} FROM {role}")  # noqa: S608 - names of the schema
        if others:
            quoted = ", ".join(f'"{other}"' for other in others)
            await connection.execute(f"GRANT SELECT ({quoted}) ON {service}.{table} TO {role}")
        await connection.execute(f"SET LOCAL ROLE {role}")
        for text, explain in explained:
            if re.search(rf"\b{table}\b", text) and meant.search(text):
                try:
                    async with connection.transaction():
                        await connection.execute(explain)
                except asyncpg.InsufficientPrivilegeError:
                    return True
        return False
    finally:
        await transaction.rollback()


async def _prepared(connection: "asyncpg.Connection[asyncpg.Record]", nth: int, text: str) -> str:
    """Prepare a statement and return its explanation, which checks the rights of the caller."""
    parameters = (await connection.prepare(text)).get_parameters()
    await connection.execute(f"PREPARE read_{nth} AS {text}")
    nothing = f" ({', '.join(['NULL'] * len(parameters))})" if parameters else ""
    return f"EXPLAIN EXECUTE read_{nth}{nothing}"


@pytest.fixture(params=SCHEMAS)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_every_column_is_read(service: str, database: Database) -> None:
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": service})
    try:
        assert await unread(connection, service, files_of(service)) == sorted(KEPT[service])
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("service", "planted"),
    [
        ("codes", "ALTER TABLE partners ADD COLUMN planted text"),
        ("redemption", "ALTER TABLE orders ADD COLUMN planted text"),
        ("webhooks", "CREATE TABLE planted (planted text); GRANT INSERT ON planted TO mintwire_webhooks"),
    ],
)
async def test_a_planted_column_is_found(service: str, planted: str, database: Database) -> None:
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": service})
    try:
        await connection.execute(planted)
        assert any(column.endswith(".planted") for column in await unread(connection, service, files_of(service)))
    finally:
        await connection.close()
