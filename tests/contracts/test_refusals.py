"""Every 4xx says in plain words what is wrong and where, in the words of the API family that was called.

The documents that the services serve say what there is: each operation has to be refused in each way that any request
to it can be refused, or the test fails. The fields of bodies and queries are walked by `test_refused_fields`.
"""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.contracts.seeding import seed
from tests.contracts.test_refused_fields import JARGON, SNAKE_CASE, Walk
from tests.databases import SERVICES, Database
from tests.running import running_services

NOWHERE = str(uuid.UUID(int=7, version=4))
# What nothing is called, where that is no UUID.
NOTHING = {"coupon": "no-such", "code": "NOSUCH1", "order_ref": "no-such", "name": "no.such", "number": "7"}
# Bodies that are JSON, and a member that cannot be kept.
BAD_MEMBERS = {
    b'{"a": [1e999]}': "a.0",
    b'{"a": {"b": "x\\u0000"}}': "a.b",
    b'{"a": ["\\ud800"]}': "a.0",
}
# Bodies that no JSON text of ours is, and where their fault is.
BAD_BODIES = {
    b'{"a": {"b": NaN}}': "a.b",
    b'{"a": {"b": 1, "b": 2}}': "a.b",
    b'{"a": 1,\n "b" 2}': "line 2, column 6",
    b'{"a": "\xff"}': "line 1, column 8",
    b'{"a":\n"\x00"}': "line 2, column 2",
    b"[" * 40: "line 1, column 33",
}
# Refusals that may say what the seeds say, in their words.
SEEDS = frozenset({"Invalid API key", "Partner account is not active", "No codes remaining"})


@pytest.mark.timeout(600)
async def test_every_refusal_says_what_is_wrong_and_where(database: Database, clean_broker: dict[str, str]) -> None:
    async with (
        running_services(database, clean_broker, names=dict.fromkeys(SERVICES)) as running,
        aiohttp.ClientSession() as session,
    ):
        values = await seed(running)
        faults: list[str] = []
        for service in SERVICES:
            await Refusals(session, running[service].url, values, faults).everything()
        assert not faults, "\n".join(faults[:60])


class Refusals(Walk):
    """One service's operations, each refused in every way."""

    async def everything(self) -> None:
        before = self.refused
        await super().everything()
        # A walk through nothing must not pass.
        assert self.refused - before > 100, self.url

    async def operation(self, method: str, path: str, operation: Any) -> None:
        documented = {int(status) for status in operation["responses"] if status[0] == "4"}
        met: set[int] = set()
        for asked in self.requests(method, path, operation):
            met.add(await self.refusal(method, path, documented, **asked))
        wanted = {401} if operation["security"] else set()
        wanted |= {404} if "{" in path and 404 in documented else set()
        wanted |= {400, 415} & documented
        if missing := wanted - met:
            self.faults.append(f"{method} {path} was never refused with {sorted(missing)}")

    def requests(self, method: str, path: str, operation: Any) -> Iterator[dict[str, Any]]:
        """Yield what is refused: without a key and with others', of nothing that there is, of bodies that are none."""
        key = self.key(operation)
        yield {"headers": {}}
        yield {"headers": {name: f"{value[:-4]}0000" for name, value in key.items()}}
        yield {"headers": {"X-Partner-Key": self.values["PARTNER_KEY"]}}
        content = operation.get("requestBody", {}).get("content", {})
        example = json.dumps(content.get("application/json", {}).get("example", {})).encode()
        as_json = key | {"Content-Type": "application/json"}
        for parameter in re.findall(r"\{(\w+)\}", path):
            # Another name for each method: an order that never was is known once it was taken back.
            nothing = {parameter: NOTHING.get(parameter, NOWHERE) + (method if parameter == "order_ref" else "")}
            as_sent = key | {"Content-Type": next(iter(content))} if content else key
            sent = {"data": b"code\nA1\n" if "text/csv" in content else example} if content else {}
            yield {"headers": as_sent, "named": nothing, "where": nothing[parameter], "only": 404, **sent}
            yield {"headers": as_sent, "named": {parameter: "nonsense"}, "only": 404, **sent}
        if 415 in {int(status) for status in operation["responses"] if status.isdigit()}:
            yield {"headers": key | {"Content-Type": "application/xml"}, "data": b"<a/>"}
        if "text/csv" in content:
            yield {"headers": key | {"Content-Type": "text/csv", "Idempotency-Key": "é"}, "data": b"code\nA1\n"}
        elif "400" in operation["responses"]:
            for body, where in BAD_BODIES.items():
                yield {"headers": as_json, "data": body, "where": where, "only": 400}
            for body, where in BAD_MEMBERS.items():
                yield {"headers": as_json, "data": body, "where": where, "only": 422}

    async def refusal(
        self,
        method: str,
        path: str,
        documented: set[int],
        *,
        headers: dict[str, str],
        named: dict[str, str] | None = None,
        data: bytes | None = None,
        where: str = "",
        only: int = 0,
    ) -> int:
        """Ask, look at what is answered, and return its status; `where` must be in the text of status `only`."""
        known = named or {}
        url = self.url + re.sub(r"\{(\w+)\}", lambda match: known.get(match[1]) or self.in_path(match[1]), path)
        async with self.session.request(method, url, data=data, headers=headers) as answer:
            status, raw = answer.status, await answer.read()
        asked = f"{method} {url.removeprefix(self.url)} {data!r}"[:150]
        if status < 400:
            # Where what is asked for may be called anything, there is no 404 for it.
            return status
        self.refused += 1
        if status >= 500 or status not in documented:
            self.faults.append(f"{asked}: {status}, of which the document says nothing")
            return status
        said = json.loads(raw)
        text = said.get("error") or said.get("detail") or ""
        if text not in SEEDS and (not re.fullmatch(r"[A-Z].+\.", text, re.DOTALL) or JARGON.search(text)):
            self.faults.append(f"{asked}: {status}: {text!r} is no sentence")
        if status == only and where not in text:
            self.faults.append(f"{asked}: {status}: {text!r} does not say {where!r}")
        if status == 404 and "no such object" in text:
            self.faults.append(f"{asked}: {text!r} does not say what there is not")
        words = text.replace("uuid_code", "")
        if path.startswith("/api/v1/") and ("partner" in words.lower() or SNAKE_CASE.search(words)):
            self.faults.append(f"{asked}: {text!r} speaks of other families")
        return status
