"""Requests of shops and partners over HTTP: each beside a bare program with the same work, with and without keys.

In the shapes `keyed …` the column `bare` is the product without Idempotency-Key and `ours` the product with one.
"""

import asyncio
import contextlib
import itertools
import json
import statistics
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import uvloop

from bench.environment import Environment, free_port
from bench.load import Load, send_all
from bench.mint import PARTNERS, product_keys
from bench.redeem import our_side, shop_side

CLIENTS = 32
# More than a load sends in its time; the rest is used by the next one.
_PER_SECOND = 3000
_REDEEMED = {
    "bare": "SELECT id::text FROM bare.shop_redemptions WHERE voided_at IS NULL ORDER BY decided_at DESC LIMIT $1",
    "ours": "SELECT id::text FROM redemption.redemptions WHERE voided_at IS NULL ORDER BY decided_at DESC LIMIT $1",
}


def request(path: str, headers: str, body: object = None, *, has_key: bool = False) -> bytes:
    """Return a POST as sent over the network."""
    raw = b"" if body is None else json.dumps(body).encode()
    key = f"Idempotency-Key: {uuid.uuid4()}\r\n" if has_key else ""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}{key}Content-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


@dataclass
class Door:
    """One of the two checkout servers, and how its codes are created."""

    name: str
    env: Environment
    port: int
    key: str
    make: Callable[[int], list[str]]
    left: list[str]

    @property
    def headers(self) -> str:
        """The headers of every request."""
        return f"Authorization: Bearer {self.key}\r\nContent-Type: application/json\r\n"

    def stock(self, seconds: float) -> None:
        """Prepare codes for a load of this length."""
        wanted = int(seconds * _PER_SECOND)
        if len(self.left) < wanted:
            self.left += self.make(wanted)

    def codes(self) -> Iterator[str]:
        """Take unused codes."""
        while self.left:
            yield self.left.pop()

    def redeeming(self, path: str, *, has_key: bool = False) -> Iterator[bytes]:
        """Build requests with separate orders, to `/v1/redemptions` or `/v1/reservations`."""
        order = {"currency": "USD", "subtotal": 5000}
        for code in self.codes():
            yield request(path, self.headers, {"codes": [code], "order_ref": code, "order": order}, has_key=has_key)

    def validating(self) -> Iterator[bytes]:
        """Build requests that validate the same codes repeatedly."""
        order = {"currency": "USD", "subtotal": 5000}
        for code in itertools.cycle(self.left[:500]):
            yield request("/v1/validations", self.headers, {"codes": [code], "order": order})

    def voiding(self, ids: Iterable[str]) -> Iterator[bytes]:
        """Build requests that void redemptions."""
        for id_ in ids:
            yield request(f"/v1/redemptions/{id_}/void", self.headers, {"reason": "fraud"})

    def redeemed(self, count: int) -> list[str]:
        """Return the ids of redemptions that are not voided."""
        rows = asyncio.run(_query(self.env, _REDEEMED[self.name], count))
        return [row["id"] for row in rows]


async def _query(env: Environment, statement: str, *arguments: object) -> list[Any]:
    connection = await asyncpg.connect(env.database_url)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


@contextlib.contextmanager
def doors(env: Environment) -> Iterator[dict[str, Door]]:
    """Run both servers side by side; the idle one costs nothing."""
    bare, side, port = shop_side(env), our_side(env), free_port()
    with (
        env.service("redemption"),
        env.bare("bench.bare.checkout", env.database_url, str(port), env.amqp_url),
    ):
        yield {
            "bare": Door("bare", env, port, bare.key, lambda count: asyncio.run(bare.make_codes(count)), []),
            "ours": Door(
                "ours",
                env,
                int(env.urls["redemption"].rpartition(":")[2]),
                side.key,
                lambda count: asyncio.run(side.make_codes(count)),
                [],
            ),
        }


def run(env: Environment, rounds: int, seconds: float) -> dict[str, Any]:
    """Alternate the sides, shape by shape, round by round, and return medians, ratios and the raw rounds."""
    raw: dict[str, list[dict[str, Any]]] = {}
    with doors(env) as sides:
        for turn in range(rounds + 1):
            for name, row in _round(sides, seconds if turn else 0.5):
                # The first round is a warm-up.
                raw.setdefault(name, []).extend([row] if turn else [])
    with env.service("codes"):
        keys = product_keys(env)
        port = int(env.urls["codes"].rpartition(":")[2])
        for turn in range(rounds + 1):
            for name, row in _mint_round(port, keys, seconds if turn else 0.5):
                raw.setdefault(name, []).extend([row] if turn else [])
    return {name: _summary(rows) for name, rows in raw.items()}


def _round(sides: dict[str, Door], seconds: float) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, path in (("redemption", "/v1/redemptions"), ("hold", "/v1/reservations")):
        row = {}
        for side, door in sides.items():
            door.stock(seconds)
            row[side] = _load(door.port, door.redeeming(path), CLIENTS, seconds)
        yield name, row
        ours = sides["ours"]
        ours.stock(seconds)
        yield (
            f"keyed {name}",
            {"bare": row["ours"], "ours": _load(ours.port, ours.redeeming(path, has_key=True), CLIENTS, seconds)},
        )
    for door in sides.values():
        door.stock(seconds)
    yield "validation", {side: _load(door.port, door.validating(), CLIENTS, seconds) for side, door in sides.items()}
    row = {}
    for side, door in sides.items():
        row[side] = _load(door.port, door.voiding(door.redeemed(int(seconds * _PER_SECOND))), CLIENTS, seconds)
    yield "void", row


def _mint_round(port: int, keys: list[str], seconds: float) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, clients, partners in (
        ("keyed mint, one client", 1, 1),
        ("keyed mint, one partner", CLIENTS, 1),
        ("keyed mint, 100 partners", CLIENTS, PARTNERS),
    ):
        row = {}
        for side, has_key in (("bare", False), ("ours", True)):
            heads = itertools.cycle([f"X-Partner-Key: {key}\r\n" for key in keys[:partners]])
            asks = (request("/api/partners/codes/generate", head, has_key=has_key) for head in heads)
            row[side] = _load(port, asks, clients, seconds)
        yield name, row


def _load(port: int, requests: Iterable[bytes], clients: int, seconds: float) -> dict[str, float]:
    load: Load = uvloop.run(send_all(port, requests, connections=clients, seconds=seconds))
    if not load.statuses or set(load.statuses) - {200, 201}:
        raise SystemExit(f"answered {dict(load.statuses)}; a figure of this run means nothing.")
    return {"per_s": load.rate, "p50_ms": load.percentile(50), "p99_ms": load.percentile(99)}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"rounds": rows}
    for measure in ("per_s", "p50_ms", "p99_ms"):
        summary[measure] = {side: statistics.median(row[side][measure] for row in rows) for side in ("bare", "ours")}
        summary[measure]["ratio"] = statistics.median(row["ours"][measure] / row["bare"][measure] for row in rows)
    return summary
