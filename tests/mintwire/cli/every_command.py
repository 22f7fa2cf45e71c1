"""Every command with its example, and what must exist for that example to run as written."""

import inspect
import itertools
import json
import re
import shlex
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from cyclopts import App

from mintwire.__main__ import app
from shared.broker.publisher import Publisher
from tests.mintwire.cli.conftest import Mintwire, until
from tests.services.webhooks.receiver import Receiver

QUEUE = "redemption.checkout"
_NUMBERS = itertools.count(1)
CLOSED_STATEMENT = """
INSERT INTO redemption.commission_statements
SELECT redemption.commission_statement_id($2::uuid, '2026-01-01', 'EUR'), $1::uuid, $2::uuid, '2026-01-01', 'EUR',
       1, 500, 0, 0, 0, 0, 'UTC', '2026-02-01T01:00:00Z'
RETURNING id
"""


@dataclass(frozen=True)
class Command:
    """A command by its words, with the arguments of its first example."""

    words: tuple[str, ...]
    parameters: frozenset[str]
    example: tuple[str, ...]

    @property
    def name(self) -> str:
        return " ".join(self.words)


def commands() -> Iterator[Command]:
    """Walk the tree; a command with two names appears once."""
    seen: set[object] = set()
    for words, function in _walk(app, ()):
        if function not in seen:
            seen.add(function)
            yield _command(words, function)


def names() -> Iterator[str]:
    """Yield every name of every command."""
    for words, _ in _walk(app, ()):
        yield " ".join(words)


def _walk(group: App, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in group:
        if name.startswith("-"):
            continue
        if any(not each.startswith("-") for each in group[name]):
            yield from _walk(group[name], (*words, name))
        else:
            yield (*words, name), group[name].default_command


def _command(words: tuple[str, ...], function: Any) -> Command:
    text = " ".join((inspect.getdoc(function) or "").split("Parameters\n---")[0].split())
    # A command in two groups appears in one of them.
    example = re.search(rf"Example: mintwire \w+ {words[-1]}|Example: mintwire {' '.join(words)}", text)
    assert example is not None, f"mintwire {' '.join(words)} shows no example"
    line = text[example.start() :].removeprefix("Example: mintwire ").split("Example:")[0]
    return Command(words, frozenset(inspect.signature(function).parameters), tuple(shlex.split(line)))


class World:
    """What the examples need, created by the command itself on first use."""

    def __init__(self, run: Mintwire, receiver: Receiver, folder: Path, database: str) -> None:
        self.run, self.receiver, self.folder, self.database = run, receiver, folder, database
        self._has_dead = False

    async def tidy(self) -> None:
        """Remove what would disturb other tests of the folder."""
        if self._has_dead:
            await self.run("dead", "purge", QUEUE, "--all", "--yes")

    async def partner(self) -> str:
        made = await self.run.json("partner", "create", f"Partner {next(_NUMBERS)}")
        return str(made["id"])

    async def key(self, partner: str) -> str:
        return str((await self.run.json("key", "create", "--partner", partner))["id"])

    async def coupon(self, name: str) -> str:
        if (await self.run("coupon", "show", name, code=None)).code:
            await self.run("coupon", "create", name, "--percent", "25")
        return name

    async def no_coupon(self, name: str) -> None:
        await self.run("coupon", "archive", name, code=None)

    async def code(self, code: str) -> str:
        await self.coupon("spring")
        if (await self.run("code", "show", code, "--program", code=None)).code:
            await self.run("code", "create", "spring", code)
        return code

    async def no_code(self, code: str) -> None:
        await self.run("code", "archive", code, code=None)

    async def fresh_code(self, code: str) -> None:
        await self.no_code(code)
        await self.code(code)

    async def generated(self) -> str:
        return str((await self.run.json("code", "generate"))["code"])

    async def code_order(self) -> str:
        return str((await self.run.json("code-order", "create", "5"))["id"])

    async def job(self, count: int = 1_001) -> str:
        await self.coupon("spring-2026")
        made = await self.run.json("batch", "create", "spring-2026", "--count", str(count), "--no-wait")
        return str(made["id"])

    async def endpoint(self, url: str | None = None, status: str = "active") -> str:
        arguments = ("--event-type", "code.redeemed", "--event-type", "test")
        made = await self.run.json("webhook", "create", url or self.receiver.url, *arguments)
        if status == "paused":
            await self.run("webhook", "pause", made["id"])
        return str(made["id"])

    async def redeemed(self) -> str:
        """Redeem a code for an order, and return the redemption."""
        order = ("--order-ref", f"order-{next(_NUMBERS)}")
        made = await self.run.json("checkout", "redeem", await self.generated(), *order)
        return str(made["redemptions"][0]["id"])

    async def delivery(self, status: str) -> str:
        """Return a delivery to a new endpoint: one that has succeeded, or one that waits."""
        endpoint = await self.endpoint(status="paused" if status == "paused" else "active")
        await self.redeemed()
        found: list[Any] = []

        async def is_there() -> bool:
            found[:] = await self.run.json("webhook", "deliveries", "--endpoint", endpoint, "--status", status)
            return bool(found)

        await until(is_there, f"a delivery that is {status}")
        return str(found[0]["id"])

    async def message(self) -> tuple[str, str]:
        """Return a message that was sent, and its endpoint."""
        delivery = await self.delivery("succeeded")
        [found] = [each for each in await self.run.json("webhook", "deliveries") if each["id"] == delivery]
        return str(found["message_id"]), str(found["endpoint_id"])

    async def delivered(self) -> str:
        """Return an endpoint with a delivery."""
        return (await self.message())[1]

    async def sent(self) -> str:
        payload = ("--payload", "{}", "--event-id", f"event-{next(_NUMBERS)}")
        return str((await self.run.json("webhook", "message", "send", "custom.card.sent", *payload))["id"])

    async def statement(self) -> str:
        """Return a closed commission statement: no month ends while a test runs."""
        connection = await asyncpg.connect(self.database)
        try:
            program, partner = self.run.environment["MINTWIRE_PROGRAM_ID"], await self.partner()
            return str(await connection.fetchval(CLOSED_STATEMENT, program, partner))
        finally:
            await connection.close()

    async def paid_statement(self) -> str:
        statement = await self.statement()
        await self.run("commission", "pay", statement, "--amount", "500", "--currency", "EUR", "--reference", "first")
        return statement

    async def reservation(self) -> str:
        made = await self.run.json("checkout", "reserve", await self.generated())
        return str(made.get("id") or made["reservation_id"])

    async def refused(self, order_ref: str) -> None:
        await self.run("checkout", "redeem", "NO-SUCH-CODE", "--order-ref", order_ref, code=None)

    async def exported(self) -> str:
        """Return a finished export of a customer."""
        file = str(self.folder / "export.ndjson")
        made = await self.run.json("customer", "export", "--customer-id", f"c-{next(_NUMBERS)}", "--output", file)
        return str(made["job_id"])

    async def dead(self) -> str:
        self._has_dead = True
        key = f"broken-{next(_NUMBERS)}"
        async with Publisher(self.run.environment["MINTWIRE_AMQP_URL"], "checkout") as publisher:
            await publisher.publish_one("checkout.completed", b"no json", message_id=key)

        async def is_dead() -> bool:
            return key in {each["key"] for each in await self.run.json("dead", "list", QUEUE)}

        await until(is_dead, "a dead message")
        return key

    async def account(self) -> None:
        arguments = ("--name", "Ada Okafor", "--role", "operator", "--password", "a long password")
        await self.run("account", "create", "ada@example.com", *arguments, code=None)

    async def received(self) -> tuple[str, ...]:
        """Return the arguments of `webhook verify` for a received webhook, with its body in the example's file."""
        before = len(self.receiver.posts)
        endpoint = await self.endpoint()
        await self.run("webhook", "test", endpoint)
        post = self.receiver.posts[before]
        (self.folder / "body.json").write_bytes(post.body)
        named = {name.lower(): value for name, value in post.headers.items()}
        return (named["webhook-id"], named["webhook-timestamp"], named["webhook-signature"], endpoint)


Prepare = Callable[[World], Awaitable[tuple[str, ...]]]


def ids(*makes: Callable[[World], Awaitable[str]]) -> Prepare:
    """Create the objects that the ids of an example stand for, in order."""

    async def prepare(world: World) -> tuple[str, ...]:
        return tuple([await make(world) for make in makes])

    return prepare


def fresh(text: str) -> Callable[[World], Awaitable[str]]:
    """Return a new name, for objects whose names must be unique."""

    async def name(_: World) -> str:
        return text.format(next(_NUMBERS))

    return name


def first(*acts: Callable[[World], Awaitable[object]]) -> Prepare:
    """Prepare something for an example that names no ids."""

    async def prepare(world: World) -> tuple[str, ...]:
        for act in acts:
            await act(world)
        return ()

    return prepare


async def _key_and_partner(world: World) -> tuple[str, ...]:
    partner = await world.partner()
    return await world.key(partner), partner


async def _endpoint_and_old_key(world: World) -> tuple[str, ...]:
    endpoint = await world.endpoint()
    [old] = await world.run.json("webhook", "keys", endpoint)
    await world.run("webhook", "rotate", endpoint)
    return endpoint, str(old["id"])


async def _paid(world: World) -> str:
    # A separate code each: a purchase within a minute of the event that cancelled the order counts as cancelled with
    # it.
    order = f"paid-{next(_NUMBERS)}"
    await world.run("checkout", "redeem", await world.generated(), "--order-ref", order)
    return order


async def _file_of_codes(world: World) -> tuple[str, ...]:
    await world.coupon("spring-2026")
    (world.folder / "codes.csv").write_text(f"code\nFILE-{next(_NUMBERS)}\n")
    return ()


async def _file_of_a_shop(world: World) -> tuple[str, ...]:
    row = f"SHOP-{next(_NUMBERS)},-15.0,percentage,3,10"
    text = f"Name,Value,Value Type,Times Used In Total,Usage Limit Per Code\n{row}\n"
    (world.folder / "discounts_export.csv").write_text(text)
    return ()


_endpoint = ids(World.endpoint)
_partner = ids(World.partner)
_spring = first(lambda world: world.coupon("spring"))
_spring_2026 = first(lambda world: world.coupon("spring-2026"))
_demo = first(lambda world: world.fresh_code("DEMO-1A0A48C0"))
_vip = first(lambda world: world.code("SPRING-VIP"))
NEEDS: dict[str, Prepare] = {
    **dict.fromkeys((f"partner {word}" for word in ("show", "update", "archive", "approve", "suspend")), _partner),
    **dict.fromkeys(("key create", "key list", "quota grant", "quota show", "quota ledger"), _partner),
    **dict.fromkeys(("key rotate", "key revoke", "key limit"), _key_and_partner),
    **dict.fromkeys((f"code-order {word}" for word in ("show", "cancel", "approve", "refuse")), ids(World.code_order)),
    "account reset": first(World.account),
    "account disable": first(World.account),
    "account enable": first(World.account),
    "coupon create": first(lambda world: world.no_coupon("spring")),
    **dict.fromkeys(("coupon show", "coupon update", "coupon archive", "coupon list"), _spring),
    "code create": first(lambda world: world.coupon("spring"), lambda world: world.no_code("SPRING-VIP")),
    **dict.fromkeys(("code update", "code archive"), _vip),
    "code import": _file_of_codes,
    "import": _file_of_a_shop,
    **dict.fromkeys(("code export", "code bulk", "batch create"), _spring_2026),
    **dict.fromkeys(("batch status", "batch download", "job errors"), ids(World.job)),
    "batch cancel": ids(lambda world: world.job(5_000_000)),
    **dict.fromkeys((f"checkout {word}" for word in ("complete", "validate", "reserve", "redeem")), _demo),
    "checkout release": ids(World.reservation),
    "order show": first(lambda world: world.refused("order-1")),
    "checkout void": ids(World.redeemed),
    **{
        f"webhook {word}": _endpoint
        for word in (
            *("show", "change", "pause", "resume", "disable", "enable", "delete", "keys", "rotate", "stats", "test"),
            *("replay", "dead replay"),
        )
    },
    "webhook revoke": _endpoint_and_old_key,
    **dict.fromkeys(("webhook attempts", "webhook retry"), ids(lambda world: world.delivery("succeeded"))),
    "webhook tail": ids(World.delivered),
    "webhook cancel": ids(lambda world: world.delivery("paused")),
    **dict.fromkeys(("webhook message show", "webhook message redact"), ids(World.sent)),
    "webhook resend": World.message,
    "webhook verify": World.received,
    "dead show": ids(World.dead),
    **{f"commission {word}": ids(World.statement) for word in ("show", "lines", "export", "pay")},
    "commission take-back": ids(World.paid_statement),
    **dict.fromkeys(("customer status", "customer download"), ids(World.exported)),
}
# Values that an example leaves open, or that would take a test too long.
WORDS: dict[str, dict[str, Any]] = {
    "account create": {"ada@example.com": fresh("ada{}@example.com")},
    "batch create": {"100000": "1500"},
    "code show": {"demo-1a0a48c0": World.generated},
    **{name: {"order-1": fresh("order-{}")} for name in ("checkout reserve", "checkout redeem")},
    **{name: {"order-1": _paid} for name in ("checkout cancel", "checkout refund")},
    "code-order create": {"PO-2026-118": fresh("PO-{}")},
    "partner create": {"FLOWER": fresh("FLOWER{}"), "hi@flowers.example": fresh("hi{}@flowers.example")},
    "partner update": {"new@flowers.example": fresh("new{}@flowers.example")},
}
# Owned by a program, so that a partner's key does not see it.
MORE = {"webhook message show": ("--program",)}
# The real values for those that the example abbreviates.
OPEN = re.compile(r"msg_…|17…|v1,…|(?:msg_)?\d{4}…")


async def arguments_of(command: Command, world: World) -> tuple[str, ...]:
    """Return the example's arguments with its placeholders filled in."""
    prepare = NEEDS.get(command.name)
    values = iter(await prepare(world) if prepare is not None else ())
    filled = []
    for each in command.example:
        replaced: Any = WORDS.get(command.name, {}).get(each, each)
        if callable(replaced):
            replaced = await replaced(world)
        filled.append(next(values) if OPEN.fullmatch(each) else replaced)
    assert next(values, None) is None, f"the example of {command.name} takes less than it is given"
    return (*filled, *MORE.get(command.name, ()))


def made_up(command: Command) -> tuple[str, ...]:
    """Return the example's arguments with unknown ids."""
    return tuple(_made_up(each) if OPEN.fullmatch(each) else each for each in command.example)


def _made_up(value: str) -> str:
    return "msg_" + "0" * 32 if value.startswith("msg_") else "01920000-0000-7000-8000-000000000000"


def is_json(text: str) -> bool:
    """Return whether a text is one JSON value."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
