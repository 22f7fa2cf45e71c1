"""Looks for a customer everywhere: every column of every table of the database, whatever its type."""

from collections.abc import Sequence

import asyncpg

TABLES = """
SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""
# Bytes show their text, which the output of a row hides in hexadecimal digits.
BYTES = """
SELECT attname AS name FROM pg_attribute
WHERE attrelid = $1::regclass AND atttypid = 'bytea'::regtype AND attnum > 0 AND NOT attisdropped
"""


async def found_in(admin: "asyncpg.Connection[asyncpg.Record]", canaries: Sequence[str]) -> list[tuple[str, str]]:
    """Return where one of the texts stands, in whatever case: each table with the row."""
    found = []
    wanted = [each.lower() for each in canaries]
    for table in [row["name"] for row in await admin.fetch(TABLES)]:
        columns = [row["name"] for row in await admin.fetch(BYTES, table)]
        rows = await admin.fetch(f"SELECT t::text AS shown, t.* FROM {table} t")  # noqa: S608 - names of the catalogue
        for row in rows:
            raw = [bytes(row[name]).decode("utf-8", "replace") for name in columns if row[name] is not None]
            text = "\n".join([row["shown"], *raw]).lower()
            if any(each in text for each in wanted):
                found.append((table, text))
    return found
