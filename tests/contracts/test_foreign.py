"""Tenancy as a matrix: what another program or partner has answers like what nobody has, to keys and to accounts alike.

The API documents say which operations there are and what they name, in paths, queries and bodies: one that is added
later is asked too, and fails here if it names something of which nothing foreign is known.
"""

import asyncio
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import asyncpg
import pytest
from yarl import URL

from shared.accounts import Role
from shared.clock import utc_now
from tests.accounts import DASHBOARD
from tests.contracts.seeding import seed
from tests.contracts.test_modes import settled
from tests.contracts.test_refused_fields import METHODS, json_content
from tests.databases import SERVICES, Database
from tests.running import RunningServices, running_services

# What a parameter or a member names, by the names of its values in `World.theirs`.
NAMED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("coupon", "coupon_id", "couponId", "coupon_uuid", "uuid_code"), ("COUPON", "COUPON_ID")),
    **dict.fromkeys(("code", "promotionalCodeId"), ("CODE", "CODE_ID", "GENERATED_CODE")),
    **dict.fromkeys(("id", "object_id"), ("CODE_ID", "COUPON_ID")),
    **dict.fromkeys(("key_id", "made_by"), ("PROGRAM_KEY_ID", "PARTNER_KEY_ID")),
    **dict.fromkeys(("partner_id", "affiliateId"), ("PARTNER_ID",)),
    **dict.fromkeys(("partner_email", "affiliateEmail"), ("PARTNER_EMAIL",)),
    **dict.fromkeys(("batch_id", "batchId"), ("JOB_ID",)),
    **dict.fromkeys(("endpoint_id", "endpoint_ids"), ("ENDPOINT_ID",)),
    "job_id": ("JOB_ID", "CUSTOMER_JOB_ID"),
    "order_ref": ("ORDER_REF",),
    "codes": ("CODE",),
    "ids": ("CODE_ID",),
    "program_id": ("PROGRAM_ID",),
    "code_order_id": ("CODE_ORDER_ID",),
    "redemption_id": ("REDEMPTION_ID",),
    "statement_id": ("STATEMENT_ID",),
    "reservation_id": ("RESERVATION_ID",),
    "message_id": ("MESSAGE_ID",),
    "delivery_id": ("DELIVERY_ID",),
    "attempt_id": ("ATTEMPT_ID",),
    "replay_id": ("REPLAY_ID",),
    "listener_id": ("LISTENER_ID",),
}
LISTS: Final = frozenset({"ids", "codes", "endpoint_ids"})
# What reads like a name, and what of that is the caller's own word for its own, or no tenant's.
NAMING: Final = re.compile(r"\w*(?:id|Id|ids|_ref|_by|[Ee]mail|code|codes|[Cc]oupon|_uuid|reference|_key)")
OWN: Final = frozenset(
    {
        *("external_id", "externalId", "customer_id", "customerId", "customer_email", "account_id", "event_id", "uid"),
        *("product_ids", "excluded_product_ids", "refund_ref", "reference", "transaction_key", "ordering_key"),
        *("support_email", "email", "promotion_codes", "redemptions_per_code", "group_by"),
    }
)
# What a new thing is to be called, and orders, which shops name themselves.
NEW: Final = frozenset({"code", "uuid_code", "order_ref"})
# An order that never was can be taken back, which leaves a mark for when it comes.
NEVER_MISSING: Final = frozenset({("post", "/v1/orders/{order_ref}/void")})
# Who asks, by the security that an operation must have.
WHO: Final = {
    "program key": "bearer",
    "partner key": "partnerKey",
    "merchant account": "account",
    "partner account": "account",
}
IN_PATHS: Final = {"number": "1", "name": "code.redeemed"}


@dataclass
class World:
    """What one program has, and another that has nothing and asks for it, by keys and by accounts."""

    http: aiohttp.ClientSession
    running: RunningServices
    theirs: dict[str, str] = field(default_factory=dict)
    mine: dict[str, str] = field(default_factory=dict)

    def headers(self, who: str, service: str) -> dict[str, str]:
        """Return the credentials of one of mine; a token of an account lives for a minute only."""
        if who == "partner key":
            return {"X-Partner-Key": self.mine["PARTNER_KEY"]}
        if who == "program key":
            return {"Authorization": f"Bearer {self.mine['PROGRAM_KEY']}"}
        role: Role = "partner" if who == "partner account" else "merchant"
        partner_id = self.mine["PARTNER_ID"] if role == "partner" else None
        token = DASHBOARD.token(service, utc_now(), role, program_id=self.mine["PROGRAM_ID"], partner_id=partner_id)
        return {"Authorization": f"Bearer {token}"}

    async def got(self, service: str, path: str, key: str, body: Any = None, method: str = "") -> Any:
        url = self.running[service].url + path
        bearer = {"Authorization": f"Bearer {key}"}
        async with self.http.request(method or ("POST" if body else "GET"), url, json=body, headers=bearer) as answer:
            assert answer.status < 300, (path, await answer.text())
            return (await answer.json())["data"]

    async def populate(self) -> None:
        """Make one of each for the first program, and a second program with a partner and keys."""
        self.theirs = theirs = await seed(self.running) | {
            "CUSTOMER_ID": "c-theirs",
            "PARTNER_EMAIL": "theirs@a.example",
        }
        program, operator = theirs["PROGRAM_KEY"], theirs["OPERATOR_TOKEN"]
        email = {"email": theirs["PARTNER_EMAIL"]}
        await self.got("codes", f"/v1/partners/{theirs['PARTNER_ID']}", program, email, "PATCH")
        theirs["CODE_ID"] = (await self.got("codes", f"/v1/promotion-codes/{theirs['CODE']}", program))["id"]
        coupon = f"/v1/coupons/{theirs['COUPON']}"
        theirs["COUPON_ID"] = (await self.got("codes", coupon, program))["id"]
        batch = await self.got("codes", f"{coupon}/promotion-codes/batch", program, {"count": 1})
        theirs["JOB_ID"] = batch["job"]["id"]
        export = {"customer_id": theirs["CUSTOMER_ID"]}
        theirs["CUSTOMER_JOB_ID"] = (await self.got("redemption", "/v1/customers/export", program, export))["id"]
        # It works in the background, and what it changes is nobody's request.
        for _ in range(300):
            job = await self.got("redemption", f"/v1/customers/jobs/{theirs['CUSTOMER_JOB_ID']}", program)
            if job["state"] != "running":
                break
            await asyncio.sleep(0.1)
        await self._webhooks(program)
        mine = await self.got("codes", "/v1/programs", operator, {"name": "Mine", "link_url": "https://mine.example/"})
        key = (await self.got("codes", f"/v1/programs/{mine['id']}/keys", operator, {"name": "mine"}))["key"]
        partner = await self.got("codes", "/v1/partners", key, {"name": "Mine", "status": "active"})
        partner_key = (await self.got("codes", f"/v1/partners/{partner['id']}/keys", key, {"name": "mine"}))["key"]
        self.mine = {
            "PROGRAM_ID": mine["id"],
            "PROGRAM_KEY": key,
            "PARTNER_ID": partner["id"],
            "PARTNER_KEY": partner_key,
        }

    async def _webhooks(self, program: str) -> None:
        root, endpoint = "/v1/webhooks", {"endpoint_id": self.theirs["ENDPOINT_ID"]}
        sent = {"event_type": "custom.sent", "event_id": "sent-by-them", "payload": {}}
        message = await self.got("webhooks", f"{root}/messages", program, sent)
        [delivery] = await self.got("webhooks", f"{root}/deliveries?message_id={message['id']}", program)
        replay = {**endpoint, "which": "all", "since": "2020-01-01T00:00:00Z", "dry_run": True}
        listener = {"event_types": ["codes.generated"]}
        self.theirs |= {
            "MESSAGE_ID": message["id"],
            "DELIVERY_ID": delivery["id"],
            "ATTEMPT_ID": f"att_{uuid.UUID(delivery['id']).hex}_1",
            "REPLAY_ID": (await self.got("webhooks", f"{root}/replays", program, replay))["id"],
            "LISTENER_ID": (await self.got("webhooks", f"{root}/listeners", program, listener))["id"],
        }


@dataclass(frozen=True)
class Asked:
    """One operation with names in it, each of which is theirs or nobody's.

    `in_path` has the name of a value for each parameter, `query` a parameter and the name of its value, and `member`
    the place of a member in the body and the name of its value.
    """

    method: str
    path: str
    in_path: Mapping[str, str]
    body: Any = None
    query: tuple[str, str] | None = None
    member: tuple[tuple[str, ...], str] | None = None

    @property
    def place(self) -> str:
        """What is asked, for a person."""
        by = self.query or self.member or self.in_path
        return f"{self.method} {self.path} by {by}"

    def request(self, value: Callable[[str], str]) -> tuple[str, Any]:
        """Return the address and the body with these values."""

        def put(match: re.Match[str]) -> str:
            named = self.in_path.get(match[1])
            return IN_PATHS.get(match[1], "x") if named is None else quote(value(named), safe="")

        target, body = re.sub(r"\{(\w+)\}", put, self.path), self.body
        if self.query is not None:
            target += f"?{self.query[0]}={quote(value(self.query[1]))}"
        if self.member is not None:
            (*outer, last), name = self.member
            made = {last: [value(name)] if last in LISTS else value(name)}
            body = (body or {}) | ({outer[0]: made} if outer else made)
        return target, body


class Matrix:
    """Each operation of a service's document, asked twice with each credential: for what is theirs and for nothing."""

    def __init__(self, world: World, service: str, document: Any) -> None:
        self.world, self.service = world, service
        self.paths, self.schemas = document["paths"], document["components"]["schemas"]
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()

    async def everything(self, methods: set[str]) -> None:
        """Ask each operation that has one of the methods and takes a key of a program or a partner."""
        for path, item in self.paths.items():
            for method in item.keys() & methods:
                taken = {name for each in item[method]["security"] for name in each}
                if taken & {"bearer", "partnerKey"}:
                    if "account" not in taken:
                        self.faults.append(f"{method} {path} takes no accounts")
                    for asked in self.asked(method, path, item[method]):
                        for who in [each for each, security in WHO.items() if security in taken]:
                            await self.compare(asked, who)

    async def compare(self, asked: Asked, who: str) -> None:
        """Ask for what is theirs and for what is nobody's, and note where the answers tell them apart."""
        said: set[str] = set()
        status, text = await self.ask(asked, who, self.world.theirs.__getitem__, said)
        absent = await self.ask(asked, who, lambda name: nobodys(self.world.theirs[name]), set())
        self.counts[f"{status} {who.partition(' ')[2]}"] += 1
        if status != absent[0] or (status >= 400 and text != absent[1]):
            self.faults.append(f"{who}: {asked.place}: {status} {text} is not {absent}")
        is_named = bool(asked.in_path) and (asked.method, asked.path) not in NEVER_MISSING
        if status >= 500 or (is_named and status < 400):
            self.faults.append(f"{who}: {asked.place}: {status} {text[:200]}")
        if shown := [name for name, value in self.world.theirs.items() if value not in said and value in text]:
            self.faults.append(f"{who}: {asked.place}: shows {shown}: {text[:200]}")

    async def ask(self, asked: Asked, who: str, value: Callable[[str], str], said: set[str]) -> tuple[int, str]:
        """Return status and text of an answer, without the names that were asked for, which are added to `said`."""

        def noted(name: str) -> str:
            made = value(name)
            said.add(made)
            return made

        target, body = asked.request(noted)
        url = URL(self.world.running[self.service].url + target, encoded=True)
        headers = self.world.headers(who, self.service)
        async with self.world.http.request(asked.method, url, json=body, headers=headers) as answer:
            status, text = answer.status, await answer.text(errors="replace")
        if status >= 400:
            text = json.dumps({name: each for name, each in json.loads(text).items() if name != "request_id"})
        for each in said:
            text = text.replace(each, "it")
        return status, text

    def asked(self, method: str, path: str, operation: Any) -> Iterator[Asked]:
        """Yield the operation with each name that it takes, and a list without any."""
        parameters = [name for name in re.findall(r"\{(\w+)\}", path) if name not in IN_PATHS]
        content = json_content(operation)
        body = None if content is None else content.get("example", {})
        named = [self.names(name, path) for name in parameters]
        turns = [dict(zip(parameters, (each[turn % len(each)] for each in named), strict=True)) for turn in range(3)]
        if parameters or method == "get":
            yield from (Asked(method, path, turn, body) for turn in turns[: max(map(len, named), default=1)])
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and is_name(parameter["name"]):
                for name in self.names(parameter["name"], path):
                    yield Asked(method, path, turns[0], body, query=(parameter["name"], name))
        for place in () if content is None else self.members(method, content["schema"]):
            for name in self.names(place[-1], path):
                yield Asked(method, path, turns[0], body, member=(place, name))

    def names(self, name: str, path: str) -> tuple[str, ...]:
        """Return the names of what is theirs that a parameter or a member may name."""
        if name not in NAMED:
            self.faults.append(f"{path} takes {name}, of which nothing foreign is known here")
        return NAMED.get(name, ("PROGRAM_ID",))

    def members(self, method: str, schema: Any) -> Iterator[tuple[str, ...]]:
        """Yield the place of each member of a body that names something."""
        for name, member in self.resolved(schema).get("properties", {}).items():
            if name == "filter":
                yield from ((name, inner) for inner in self.resolved(member).get("properties", {}) if is_name(inner))
            elif is_name(name) and not (method == "post" and name in NEW):
                yield (name,)

    def resolved(self, schema: Any) -> Any:
        found = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
        return self.schemas[found["$ref"].rpartition("/")[2]] if "$ref" in found else found


def is_name(name: str) -> bool:
    """Whether a parameter or a member names something that another tenant may have."""
    return name not in OWN and NAMING.fullmatch(name) is not None


def nobodys(value: str) -> str:
    """Return what nobody has, of the same form."""
    if re.fullmatch(r"[0-9a-f-]{36}", value):
        return str(uuid.uuid4())
    if "@" in value:
        return f"{uuid.uuid4().hex}@nobody.example"
    head, mark, tail = value.partition("_")
    return f"{head}_{uuid.uuid4().hex}{tail[32:]}" if mark and len(tail) >= 32 else f"NO{uuid.uuid4().hex[:12]}"


@pytest.mark.timeout(300)
async def test_what_is_theirs_answers_like_what_is_nobody_s(database: Database, clean_broker: dict[str, str]) -> None:
    settings = {f"{name.upper()}_ACCOUNT_KEYS": DASHBOARD.jwks for name in SERVICES}
    async with (
        running_services(database, clean_broker, names=SERVICES, settings=settings) as running,
        aiohttp.ClientSession() as http,
    ):
        world = World(http, running)
        await world.populate()
        admin = await asyncpg.connect(database.admin)
        before = await settled(admin, world.theirs)
        faults: list[str] = []
        counts: Counter[str] = Counter()
        # Read before anything is made: what is made has their names, as nothing keeps it from that.
        for methods in ({"get"}, METHODS - {"get"}):
            for service in SERVICES:
                async with http.get(f"{running[service].url}/openapi.json") as answer:
                    matrix = Matrix(world, service, await answer.json())
                await matrix.everything(methods)
                faults += matrix.faults
                counts += matrix.counts
        after = await settled(admin, world.theirs)
        await admin.close()
    assert not faults, "\n".join(dict.fromkeys(faults[:60]))
    assert before - after == set()
    # A walk that was let in nowhere would prove nothing.
    assert min(counts["404 key"], counts["404 account"]) > 80, counts
    assert min(counts["200 key"], counts["200 account"]) > 20, counts
