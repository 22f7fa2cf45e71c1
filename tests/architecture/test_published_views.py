"""The published views keep their columns: each version of one is pinned in `docs/views/`, like an event's schema."""

import asyncpg
import pytest

from tests.architecture.source import ROOT
from tests.databases import Database

VIEWS_FOLDER = ROOT / "docs" / "views"

COLUMNS = """
SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) AS line
FROM pg_attribute a WHERE a.attrelid = $1::regclass AND a.attnum > 0 ORDER BY a.attnum
"""
# What another service may read is published; a view for a service itself is not.
VIEWS = """
SELECT schemaname || '.' || viewname AS name FROM pg_views v
WHERE schemaname IN ('codes', 'redemption', 'webhooks') AND EXISTS (
    SELECT FROM unnest('{codes,redemption,webhooks}'::text[]) AS other (name)
    WHERE other.name <> v.schemaname
      AND has_table_privilege('mintwire_' || other.name, format('%I.%I', schemaname, viewname), 'SELECT'))
"""


def _pinned() -> list[str]:
    """Return the pinned views; a file that names no schema is of `codes`."""
    stems = (path.stem for path in VIEWS_FOLDER.glob("*.txt"))
    return sorted(stem if "." in stem else f"codes.{stem}" for stem in stems)


async def test_every_view_is_pinned(database: Database) -> None:
    connection = await asyncpg.connect(database.admin)
    try:
        assert sorted(row["name"] for row in await connection.fetch(VIEWS)) == _pinned()
    finally:
        await connection.close()


@pytest.mark.parametrize("view", _pinned())
async def test_a_published_view_keeps_its_columns(view: str, database: Database) -> None:
    """Other services read it by these names and types: a column may be added, and is pinned from then on."""
    connection = await asyncpg.connect(database.admin)
    try:
        columns = [row["line"] for row in await connection.fetch(COLUMNS, view)]
    finally:
        await connection.close()
    pinned = (VIEWS_FOLDER / f"{view.removeprefix('codes.')}.txt").read_text("utf-8").splitlines()
    assert columns[: len(pinned)] == pinned, "What is published stays; another form is a next version beside it."
    assert columns[len(pinned) :] == [], f"Pin the new columns: add them to docs/views/{view}.txt."
