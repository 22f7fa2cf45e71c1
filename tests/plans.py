"""How many rows a statement looks at, by the plan that has run: what it returns, and what it reads in vain."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg

# Plans made for the parameters, and plans kept for any.
MODES = ("force_custom_plan", "force_generic_plan")


class Plans:
    """Statements prepared on one connection, which is to explain them; what it kept of a plan, it goes by."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", statements: Mapping[str, str]) -> None:
        self._connection = connection
        self._statements = statements
        self._is_prepared = False

    async def prepare(self, mode: str) -> None:
        """Prepare all of them again, to be planned in this mode."""
        await self._connection.execute(f"SET plan_cache_mode = {mode}")
        for name, statement in self._statements.items():
            if self._is_prepared:
                await self._connection.execute(f"DEALLOCATE {name.lower()}")
            await self._connection.execute(f"PREPARE {name.lower()} AS {statement}")
        self._is_prepared = True

    async def looked_at(self, name: str, *arguments: Any) -> float:
        """Run a statement and return how many rows of tables it has read."""
        texts = [_text(argument) for argument in arguments]
        values = await self._connection.fetchval(
            "SELECT string_agg(quote_nullable(t), ', ') FROM unnest($1::text[]) AS t", texts
        )
        run = f"EXECUTE {name.lower()} ({values})" if arguments else f"EXECUTE {name.lower()}"
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            plan = json.loads(await self._connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {run}"))
        finally:
            # What it has removed is there again.
            await transaction.rollback()
        return rows_read(plan[0]["Plan"])


def rows_read(node: dict[str, Any]) -> float:
    """Return how many rows the scans of a plan have read, filtered ones too."""
    own = 0.0
    if "Relation Name" in node and node["Node Type"] not in ("ModifyTable", "Bitmap Index Scan"):
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        own = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return own + sum(rows_read(child) for child in node.get("Plans", []))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list):
        return "{" + ",".join(str(each) for each in value) + "}"
    return value.isoformat() if isinstance(value, datetime) else str(value)
