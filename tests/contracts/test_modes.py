"""Test mode as a matrix: with a test key no operation of any API document shows or changes what live mode has.

The documents say which operations there are, so one that is added later without a thought of the mode fails here.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.canary import BYTES, TABLES
from tests.contracts.seeding import seed
from tests.contracts.test_refused_fields import METHODS, json_content
from tests.databases import SERVICES, Database
from tests.modes import leaks, modes_in, tenant_in_test_mode
from tests.running import RunningServices, running_services

# What live mode has made, by the names that `seed` returns.
MADE = (
    "GENERATED_CODE",
    "COUPON",
    "CODE",
    "ORDER_REF",
    "REDEMPTION_ID",
    "RESERVATION_ID",
    "ENDPOINT_ID",
    "CODE_ORDER_ID",
)
# The members of bodies that name something, and what of live mode they are given.
NAMES = {
    **dict.fromkeys(("uuid_code", "coupon_uuid", "couponId", "coupon_id", "coupon"), "COUPON"),
    **dict.fromkeys(("code", "promotionalCodeId"), "CODE"),
    **dict.fromkeys(("order_ref", "transaction_key", "reference"), "ORDER_REF"),
    **dict.fromkeys(("partner_id", "affiliateId"), "PARTNER_ID"),
    "endpoint_id": "ENDPOINT_ID",
    "reservation_id": "RESERVATION_ID",
    "customer_id": "CUSTOMER_ID",
}
# Kept by the clock, not by requests (statistics are counted again in the background).
MOVING = re.compile(r"\.(?:outbox|pending|events_pending|instances|processes|leases|stats|commission_[lms])")


@pytest.mark.timeout(300)
async def test_a_test_key_neither_shows_nor_changes_what_live_mode_has(
    database: Database, clean_broker: dict[str, str]
) -> None:
    async with (
        running_services(database, clean_broker, names=dict.fromkeys(SERVICES)) as running,
        aiohttp.ClientSession() as session,
    ):
        values = await seed(running) | {"CUSTOMER_ID": "customer-of-live"}
        admin = await asyncpg.connect(database.admin)
        matrix = Matrix(session, running, values, await keys_of_test_mode(session, running, values))
        before = await settled(admin, values)
        # Read before anything is made: what is made has the names of live mode, as nothing keeps it from that.
        for methods in ({"get"}, METHODS - {"get"}):
            for service in SERVICES:
                await matrix.everything(service, methods)
        after = await settled(admin, values)
        await admin.close()
    assert before - after == set()
    # What is new names the program as callers know it, and says that it is of test mode.
    own = ['"is_test":true', *(str(tenant_in_test_mode(values[name])) for name in ("PROGRAM_ID", "PARTNER_ID"))]
    assert [row for row in after - before if not any(each in row.replace(" ", "") for each in own)] == []
    assert matrix.asked > 140
    assert not matrix.faults, "\n".join(matrix.faults[:40])


async def keys_of_test_mode(
    session: aiohttp.ClientSession, running: RunningServices, values: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return headers with keys of test mode for the same program and partner, by the security of an operation."""
    made = {}
    for owner in ("programs", "partners"):
        url = f"{running['codes'].url}/v1/{owner}/{values['PROGRAM_ID' if owner == 'programs' else 'PARTNER_ID']}/keys"
        headers = {"Authorization": f"Bearer {values['OPERATOR_TOKEN']}"}
        async with session.post(url, json={"mode": "test", "purpose": "matrix"}, headers=headers) as answer:
            made[owner] = (await answer.json())["data"]["key"]
    return {
        "bearer": {"Authorization": f"Bearer {made['programs']}"},
        "partnerKey": {"X-Partner-Key": made["partners"]},
    }


async def settled(admin: "asyncpg.Connection[asyncpg.Record]", values: Mapping[str, str]) -> set[str]:
    """Return the rows about live mode of all tables, once they do not move any more."""
    last: set[str] = set()
    for _ in range(100):
        found = await live_rows(admin, values)
        if found == last:
            return found
        last = found
        await asyncio.sleep(0.2)
    raise AssertionError("live mode never comes to rest")


async def live_rows(admin: "asyncpg.Connection[asyncpg.Record]", values: Mapping[str, str]) -> set[str]:
    """Return the rows that name the live program or what it has made, as text."""
    wanted = [values[name] for name in (*MADE, "PROGRAM_ID", "CUSTOMER_ID")]
    found = set()
    for table in [row["name"] for row in await admin.fetch(TABLES)]:
        if MOVING.search(table):
            continue
        columns = [row["name"] for row in await admin.fetch(BYTES, table)]
        for row in await admin.fetch(f"SELECT t::text AS shown, t.* FROM {table} t"):  # noqa: S608 - the catalogue's
            raw = [bytes(row[name]).decode("utf-8", "replace") for name in columns if row[name] is not None]
            text = "\n".join([f"{table} {row['shown']}", *raw])
            if any(name in text for name in wanted):
                found.add(text)
    return found


class Matrix:
    """Each operation, asked with a test key for what live mode has."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        running: RunningServices,
        values: Mapping[str, str],
        keys: Mapping[str, dict[str, str]],
    ) -> None:
        self.session, self.running, self.values, self.keys = session, running, values, keys
        self.faults: list[str] = []
        self.asked = 0

    async def everything(self, service: str, methods: set[str]) -> None:
        """Ask each operation of a service's document that has one of the methods."""
        async with self.session.get(f"{self.running[service].url}/openapi.json") as answer:
            document = await answer.json()
        schemas = document["components"]["schemas"]
        for path, item in document["paths"].items():
            assert item.keys() <= METHODS, path
            for method, operation in [each for each in item.items() if each[0] in methods]:
                for security in {name for each in operation["security"] for name in each} & self.keys.keys():
                    for body in self.bodies(operation, schemas):
                        await self.ask(service, method, path, security, body)

    def bodies(self, operation: Any, schemas: Any) -> Iterator[Any]:
        """Yield the body that the document has as its example, as it is and about what live mode has."""
        if (content := json_content(operation)) is None:
            yield None
            return
        schema = content["schema"]
        schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        example = content.get("example", {})
        members = schema.get("properties", {})
        named: dict[str, Any] = {name: self.values[NAMES[name]] for name in members if name in NAMES}
        if "codes" in members:
            named["codes"] = [self.values["CODE"]]
        yield example
        yield example | named
        if "filter" in members:
            yield example | {"filter": {"coupon_id": self.values["COUPON"]}}

    async def ask(self, service: str, method: str, path: str, security: str, body: Any) -> None:
        """Ask one operation, and look whether it shows anything of live mode."""
        self.asked += 1
        filled = re.sub(r"\{(\w+)\}", lambda match: self.in_path(match[1]), path)
        asked = f"{method} {filled} {json.dumps(body)}"[:200]
        url = self.running[service].url + filled
        async with self.session.request(method, url, json=body, headers=self.keys[security]) as answer:
            status, text = answer.status, await answer.text(errors="replace")
        if status >= 500 and status not in (502, 503):
            self.faults.append(f"{asked}: {status}")
        if status >= 400:
            # A refusal may repeat the name that was asked for, and must say no more.
            return
        shown = json.loads(text) if text.startswith(("{", "[")) and "\n{" not in text else {}
        if False in modes_in(shown) or leaks(text):
            self.faults.append(f"{asked}: {status} shows live mode: {text[:300]}")
        if method == "get" and any(self.values[name] in text for name in MADE):
            self.faults.append(f"{asked}: {status} shows what live mode has made: {text[:300]}")

    def in_path(self, name: str) -> str:
        return self.values.get(name.upper(), self.values["PROGRAM_ID"])
