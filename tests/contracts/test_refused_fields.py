"""Every 422 names its field and the rule in plain words, those of the API family that was called.

It walks the documents that the services themselves serve, and breaks one rule of each parameter and member at a time.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.contracts.seeding import seed
from tests.databases import SERVICES, Database
from tests.running import running_services

METHODS = {"get", "post", "put", "patch", "delete"}
SENTENCE = re.compile(r"(?:The \S+ (?:field|parameter) |The body |\S+ is not connected ).+\.", re.DOTALL)
# What only a program would say.
JARGON = re.compile(
    r"\^\[|must match|is not valid|Input should|Value error|regex|NoneType|ValueError|pydantic"
    # Python's own words for a day that no month has and a number of too many digits.
    r"|must be in \d|out of range for|Exceeds the limit|invalid literal|isoformat|\b0 items|\b1 items"
)
# What names an order, in the families' words: without a letter or digit it names none.
ORDERS = {"order_ref", "transaction_key"}
SNAKE_CASE = re.compile(r"\b[a-z]+_[a-z_]+\b")
DEEPEST = 2


@pytest.mark.timeout(600)
async def test_every_refused_field_is_named_with_its_rule(database: Database, clean_broker: dict[str, str]) -> None:
    async with (
        running_services(database, clean_broker, names=dict.fromkeys(SERVICES)) as running,
        aiohttp.ClientSession() as session,
    ):
        values = await seed(running)
        faults: list[str] = []
        for service in SERVICES:
            walk = Walk(session, running[service].url, values, faults)
            await walk.everything()
            assert walk.refused > 100, service
        assert not faults, "\n".join(faults[:60])


class Walk:
    """One service's operations, each asked for what it must refuse."""

    def __init__(self, session: aiohttp.ClientSession, url: str, values: Mapping[str, str], faults: list[str]) -> None:
        self.session, self.url, self.values, self.faults = session, url, values, faults
        self.refused = 0
        self.schemas: Any = {}

    async def everything(self) -> None:
        async with self.session.get(f"{self.url}/openapi.json") as answer:
            document = await answer.json()
        self.schemas = document["components"]["schemas"]
        for path, item in document["paths"].items():
            assert item.keys() <= METHODS, path
            for method, operation in item.items():
                if operation["tags"] != ["infrastructure"]:
                    await self.operation(method, path, operation)

    async def operation(self, method: str, path: str, operation: Any) -> None:
        if "422" not in operation["responses"]:
            self.faults.append(f"{method} {path} does not document 422")
        await self.refuses(method, path, operation, "nonsense", query="nonsense=1", is_unknown=True)
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query":
                name = parameter["name"]
                for value in bad_texts(self.resolved(parameter["schema"])):
                    await self.refuses(method, path, operation, name, query=f"{name}={quote(value)}")
        await self.blank_orders_and_spans(method, path, operation)
        content = json_content(operation)
        if content is None:
            return
        example = content.get("example", {})
        seen = set()
        for name, value in self.broken(content["schema"], 0):
            if (written := json.dumps(value)) not in seen:
                seen.add(written)
                is_unknown = name.rpartition(".")[2] == "nonsense"
                await self.refuses(method, path, operation, name, body=example | value, is_unknown=is_unknown)

    async def blank_orders_and_spans(self, method: str, path: str, operation: Any) -> None:
        """What no schema says: a blank names no order, and what is listed does not end before it begins."""
        names = [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
        for name in ORDERS & set(names):
            await self.refuses(method, path, operation, name, query=f"{name}=%20", must=True)
        for first, last in spans(names):
            query = f"{first}=2026-03-02T00:00:00Z&{last}=2026-03-01T00:00:00Z"
            await self.refuses(method, path, operation, last, query=query, must=True)
        if "{order_ref}" in path:
            await self.refuses(method, path.replace("{order_ref}", "%20"), operation, "order_ref", must=True)
        if (content := json_content(operation)) is not None:
            for name in ORDERS & self.resolved(content["schema"]).get("properties", {}).keys():
                body = content.get("example", {}) | {name: " "}
                await self.refuses(method, path, operation, name, body=body, must=True)

    async def refuses(
        self,
        method: str,
        path: str,
        operation: Any,
        name: str,
        *,
        query: str = "",
        body: Any = None,
        is_unknown: bool = False,
        must: bool = False,
    ) -> None:
        url = self.url + re.sub(r"\{(\w+)\}", lambda match: self.in_path(match[1]), path)
        async with self.session.request(
            method, f"{url}?{query}" if query else url, json=body, headers=self.key(operation)
        ) as answer:
            said = await answer.json(content_type=None) if answer.status == 422 else None
        asked = f"{method} {path} {query or body}"[:200]
        if answer.status >= 500:
            self.faults.append(f"{asked}: {answer.status}")
        if must and (said is None or name not in said.get("errors", ())):
            self.faults.append(f"{asked}: {name} is taken, with {answer.status}: {said}")
        if said is None:
            # What is not known is refused before anything else is looked at; but items of an order are passed on whole.
            if is_unknown and ".items." not in name:
                self.faults.append(f"{asked}: {answer.status}, not 422")
            return
        self.refused += 1
        # Clients of the coupon API read these two, in languages that ask for their types.
        if not isinstance(said.get("message", said.get("error")), str):
            self.faults.append(f"{asked}: no message in {said}")
        if not said.get("errors"):
            self.faults.append(f"{asked}: no errors in {said}")
            return
        # Where a list of one stands for the one, its place is not named.
        if is_unknown and not {name, name.replace(".0.nonsense", ".nonsense")} & said["errors"].keys():
            self.faults.append(f"{asked}: {name} is not among {list(said['errors'])}")
        for field, texts in said["errors"].items():
            assert isinstance(texts, list), asked
            for text in texts:
                self.check(asked, path, field, text)

    def check(self, asked: str, path: str, field: str, text: str) -> None:
        if not SENTENCE.fullmatch(text) or JARGON.search(text):
            self.faults.append(f"{asked}: {field}: {text!r} is no sentence about the field")
        words = text.replace(field, "")
        if path.startswith("/api/v1/") and ("partner" in words.lower() or SNAKE_CASE.search(words)):
            self.faults.append(f"{asked}: {field}: {text!r} speaks of other families")
        if not path.startswith("/api/v1/") and "affiliate" in words.lower():
            self.faults.append(f"{asked}: {field}: {text!r} speaks of another family")

    def in_path(self, name: str) -> str:
        return quote(self.values.get(name.upper(), self.values["PROGRAM_ID"]), safe="")

    def key(self, operation: Any) -> dict[str, str]:
        names = {name for requirement in operation["security"] for name in requirement}
        if "operator" in names:
            return {"Authorization": f"Bearer {self.values['OPERATOR_TOKEN']}"}
        if "bearer" in names:
            return {"Authorization": f"Bearer {self.values['PROGRAM_KEY']}"}
        return {"X-Partner-Key": self.values["PARTNER_KEY"]}

    def resolved(self, schema: Any) -> Any:
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def broken(self, schema: Any, depth: int) -> Iterator[tuple[str, Any]]:
        """Yield objects that break one rule each, with the name of the member that breaks it."""
        members: dict[str, Any] = {}
        for branch in self.branches(schema):
            members |= branch.get("properties", {})
        if members or depth == 0:
            yield "nonsense", {"nonsense": 1}
        for name, member in members.items():
            branches = list(self.branches(member))
            yield from ((name, {name: value}) for value in bad_values(branches))
            if depth < DEEPEST:
                for branch in branches:
                    yield from self.within(name, branch, depth + 1)

    def within(self, name: str, branch: Any, depth: int) -> Iterator[tuple[str, Any]]:
        """Yield objects whose member of this name holds something that breaks a rule."""
        if branch.get("properties"):
            yield from ((f"{name}.{inner}", {name: value}) for inner, value in self.broken(branch, depth))
        if items := branch.get("items"):
            yield from ((f"{name}.0", {name: [value]}) for value in bad_values(list(self.branches(items))))
            yield from ((f"{name}.0.{inner}", {name: [value]}) for inner, value in self.broken(items, depth))

    def branches(self, schema: Any) -> Iterator[Any]:
        schema = self.resolved(schema)
        yield schema
        for kind in ("anyOf", "oneOf", "allOf"):
            for branch in schema.get(kind, ()):
                yield from self.branches(branch)


def json_content(operation: Any) -> Any:
    return operation.get("requestBody", {}).get("content", {}).get("application/json")


def spans(names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of parameters between which what is listed lies."""
    pairs = {"from": "to", "since": "until"} | {
        name: f"{name.removesuffix('_from')}_before" for name in names if name.endswith("_from")
    }
    yield from ((first, last) for first, last in pairs.items() if first in names and last in names)


def bad_values(branches: list[Any]) -> Iterator[Any]:
    """Yield values of which most are refused: of another type, out of bounds, of another form."""
    kinds = {branch.get("type") for branch in branches if isinstance(branch.get("type"), str)}
    yield 7 if not kinds & {"integer", "number"} else "nonsense"
    yield from ([{"nonsense": 1}] if "object" not in kinds else [])
    for branch in branches:
        if branch.get("type") == "string":
            yield "x" * (branch.get("maxLength", 6000) + 1)
            yield "not; {such} a thing"
            yield "2026-02-30"
        if branch.get("type") in ("integer", "number"):
            yield branch.get("minimum", -(2**63)) - 1
            yield 0.12345
            yield 10**30
        if branch.get("type") == "array":
            yield [None] * (branch.get("maxItems", 1000) + 1)


def bad_texts(schema: Any) -> Iterator[str]:
    yield "not; {such} a thing"
    yield "x" * 7000
    yield "2026-02-30"
    yield "9" * 5000


def test_a_jargon_text_is_seen() -> None:
    assert JARGON.search("The code field has a format that is not accepted; it must match ^[A-Z]+$.")
    assert not SENTENCE.fullmatch("must have at most 255 characters")


@pytest.mark.parametrize("text", ["The code field is required.", "The limit parameter must be an integer."])
def test_a_plain_sentence_passes(text: str) -> None:
    assert SENTENCE.fullmatch(text)
    assert not JARGON.search(text)
