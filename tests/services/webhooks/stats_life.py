"""A program whose webhooks arrive, fail and are given up, what statistics say of it, and what the raw tables say."""

import asyncio
import math
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import asyncpg

from shared.events.envelope import OutboxEvent
from tests.clocks import step_of
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, make_partner, until
from tests.services.webhooks.receiver import Receiver

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns")
RAW = """
SELECT 'message' AS what, min(created_at) AS at, event_type, NULL::uuid AS endpoint_id,
       CASE WHEN bool_or(format = 'flat' OR format LIKE '%-partner') THEN partner_id END AS partner_id,
       NULL AS status, NULL::smallint AS answer, NULL AS error_code, NULL::int AS number, NULL::int AS duration_ms
FROM webhooks.messages WHERE program_id = $1 GROUP BY id, event_type, messages.partner_id
UNION ALL
SELECT 'delivery', d.created_at, d.event_type, d.endpoint_id, e.partner_id, d.status, NULL, NULL, NULL, NULL
FROM webhooks.deliveries d JOIN webhooks.endpoints e ON e.id = d.endpoint_id WHERE e.program_id = $1
UNION ALL
SELECT 'attempt', a.started_at, d.event_type, d.endpoint_id, e.partner_id, NULL, a.status, a.error_code, a.number,
       a.duration_ms
FROM webhooks.attempts a JOIN webhooks.deliveries d ON d.id = a.delivery_id
JOIN webhooks.endpoints e ON e.id = d.endpoint_id WHERE e.program_id = $1
"""
Figures = Counter[tuple[str, str | None, str]]
Durations = dict[tuple[str, str | None], list[int]]


async def ask(service: Service, key: str, **query: Any) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    async with service.http.get(f"/v1/stats/webhooks?{urlencode(query)}", headers=headers) as response:
        body = await response.json()
    assert response.status == 200, body
    return body["data"]


def counted(point: Mapping[str, Any]) -> Figures:
    """Return what a step says, under one name for each measure."""
    found: Figures = Counter({("", None, "messages"): point["messages"]})
    for part in ("deliveries", "attempts", "answers"):
        for name, value in point[part].items():
            if name != "first_try_rate":
                found["", None, f"{part}.{name}"] += value
    first = point["attempts"]["first_tries"]
    found["", None, "first_successes"] = round((point["attempts"]["first_try_rate"] or 0) * first)
    return found


def shown(data: Any) -> Figures:
    found: Figures = Counter()
    for series in data["series"]:
        for point in series["points"]:
            for (_, _, measure), value in counted(point).items():
                found[point["at"][:19], series["key"], measure] += value
    return +found


def reason_of(row: asyncpg.Record) -> str | None:
    if row["what"] != "attempt":
        return None
    if row["answer"] is None:
        return str(row["error_code"])
    return None if 200 <= row["answer"] < 300 else f"http_{row['answer']}"


def measures(row: Mapping[str, Any], *, by_endpoint: bool) -> Iterable[str]:
    if row["what"] == "message":
        return () if by_endpoint else ("messages",)
    if row["what"] == "delivery":
        return ("deliveries.created", f"deliveries.{row['status']}")
    answer = row["answer"]
    has_arrived = answer is not None and 200 <= answer < 300
    found = ["attempts.total", "attempts.succeeded" if has_arrived else "attempts.failed"]
    found.append("answers.unanswered" if answer is None else f"answers.{answer // 100}xx")
    if row["number"] == 1:
        found += ["attempts.first_tries", *(["first_successes"] if has_arrived else [])]
    return found


def expected(
    rows: list[asyncpg.Record], data: Mapping[str, Any], group_by: str | None, **only: Any
) -> tuple[Figures, Durations]:
    """Add up the raw rows in the steps of an answer, and collect the durations of what was answered."""
    found: Figures = Counter()
    durations: Durations = {}
    by_endpoint = "endpoint_id" in only or group_by == "endpoint_id"
    for record in rows:
        row = {**record, "reason": reason_of(record)}
        at = step_of(row["at"], data)
        if at is None or any(row[name] != value for name, value in only.items()):
            continue
        if group_by == "reason" and row["reason"] is None:
            continue
        key = None if group_by is None or row[group_by] is None else str(row[group_by])
        for measure in measures(row, by_endpoint=by_endpoint):
            found[at, key, measure] += 1
        if row["answer"] is not None:
            durations.setdefault((at, key), []).append(row["duration_ms"])
    return +found, durations


def percentiles_agree(data: Any, durations: Durations) -> None:
    """Each is within 5 % of the attempt that it is about, and of the very class of its duration."""
    for series in data["series"]:
        for point in series["points"]:
            ordered = sorted(durations.get((point["at"][:19], series["key"]), ()))
            assert (point["duration_ms"] is None) == (not ordered)
            for percent in (50, 95, 99) if ordered else ():
                exact = max(1, ordered[math.ceil(len(ordered) * percent / 100) - 1])
                assert abs(point["duration_ms"][f"p{percent}"] - exact) <= 0.05 * exact + 0.05


class Life:
    """A program in which anything happens to webhooks, at odd times."""

    def __init__(self, service: Service, merchant: Merchant, receivers: list[Receiver], seed: int) -> None:
        self.service, self.merchant, self.receivers = service, merchant, receivers
        self.random = random.Random(seed)  # noqa: S311 - plays a merchant
        self.events: list[OutboxEvent] = []

    async def stock(self) -> None:
        service, merchant, [first, second] = self.service, self.merchant, self.receivers
        now = service.clock()
        self.other = await make_partner(service.admin, merchant.program_id, merchant.program_key, "Other", now)
        types = {"event_types": ["code.redeemed", "custom.*", "webhook.*"]}
        self.endpoints = [
            await service.endpoint(merchant.program_key, first.url, format="standard", **types),
            await service.endpoint(merchant.program_key, second.url, **types),
            await service.endpoint(merchant.partner_key, first.url),
            await service.endpoint(self.other.partner_key, second.url, format="cloudevents"),
        ]
        asked = {"event_types": ["code.redeemed"]}
        self.listener = (await service.send("POST", "/listeners", merchant.partner_key, asked)).data

    async def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.service.clock.advance(minutes=self.random.choice((0, 1, 7, 44, 400)))
            for receiver in self.receivers:
                receiver.status = self.random.choice((204, 204, 200, 302, 404, 500, 503))
            await self._step()
        await self.rest()

    async def rest(self) -> None:
        """Let everything be sent and written that is under way or due: while the clock stands, that has an end."""
        before = None
        while (found := await self.raw()) != before:
            before = found
            # A replay goes on, and what is due is claimed, a moment later.
            await asyncio.sleep(0.2)
            await until(lambda: not self.service.dispatcher.sending.count, "nothing held")

    async def _step(self) -> None:
        service, key, choice = self.service, self.merchant.program_key, self.random.choice
        match self.random.randrange(12):
            case 0 | 1 | 2:
                partner = choice((self.merchant.partner_id, self.other.partner_id, None))
                made = [code_redeemed(self.merchant, f"C{n}", partner_id=partner) for n in range(choice((1, 4)))]
                self.events += made
                await service.consume(*made, *self.random.sample(self.events, k=1))
            case 3:
                partners: dict[str, Any] = choice(({}, {"partner_id": str(self.merchant.partner_id)}))
                body = {"event_type": "custom.sent", "payload": {"n": 1}, **partners}
                await service.send("POST", "/messages", key, body)
            case 4:
                await service.send("POST", f"/endpoints/{choice(self.endpoints)['id']}/test", key)
            case 5 | 6:
                for delivery_id in await self._some(2):
                    await service.send("POST", f"/deliveries/{delivery_id}/{choice(('retry', 'cancel'))}", key)
            case 7:
                await service.send("POST", f"/dead-letters/{choice(('replay', 'purge'))}", key)
            case 8:
                service.clock.advance(seconds=60)
                replay = {"endpoint_id": choice(self.endpoints)["id"], "which": choice(("failed", "missing", "all"))}
                await service.send("POST", "/replays", key, {**replay, "since": "2020-01-01T00:00:00Z"})
            case 9:
                await self._listen()
            case _:
                await self._end()

    async def _end(self) -> None:
        """Disable an endpoint for a moment, which ends what waits for it, or redact a message."""
        service, key = self.service, self.merchant.program_key
        if self.random.random() < 0.5:
            endpoint = self.random.choice(self.endpoints)["id"]
            for act in ("disable", "enable"):
                assert (await service.send("POST", f"/endpoints/{endpoint}/{act}", key)).status == 200
        for row in await service.query("SELECT id FROM webhooks.messages ORDER BY random() LIMIT 1"):
            await service.send("DELETE", f"/messages/msg_{row['id'].hex}/content", key)

    async def _listen(self) -> None:
        path, own = f"/listeners/{self.listener['id']}/next", self.merchant.partner_key
        handed = (await self.service.send("POST", path, own, {"wait_seconds": 0})).data
        results = [
            {
                "delivery_id": each["delivery_id"],
                "token": each["token"],
                "status": self.random.choice((200, 500)),
                "duration_ms": self.random.randrange(40_000),
            }
            for each in handed
        ]
        await self.service.send("POST", path, own, {"wait_seconds": 0, "results": results})

    async def _some(self, most: int) -> list[uuid.UUID]:
        rows = await self.service.query("SELECT id FROM webhooks.deliveries")
        return self.random.sample([row["id"] for row in rows], k=min(most, len(rows)))

    async def raw(self) -> list[asyncpg.Record]:
        return list(await self.service.admin.fetch(RAW, self.merchant.program_id))

    async def is_exact(self, **query: Any) -> None:
        ids = {"endpoint_id", "partner_id"}
        only = {name: uuid.UUID(str(value)) if name in ids else value for name, value in query.items()}
        until_ = self.service.clock() + timedelta(hours=1)
        for step, span in (("15m", 2), ("1h", 20), ("1d", 60)):
            for group_by in (None, "endpoint_id", "partner_id", "event_type", "reason"):
                asked = {"step": step, "from": (until_ - timedelta(days=span)).isoformat(), "to": until_.isoformat()}
                groups: dict[str, Any] = {} if group_by is None else {"group_by": group_by, "groups": 8}
                zone = self.random.choice(ZONES)
                rows, data = await self._at_once(zone=zone, **asked, **groups, **query)
                figures, durations = expected(rows, data, group_by, **only)
                found = shown(data)
                assert (found - figures, figures - found) == (Counter(), Counter()), (group_by, query)
                percentiles_agree(data, durations)

    async def _at_once(self, **query: Any) -> tuple[list[asyncpg.Record], Any]:
        """Return the raw rows and an answer, between which nothing was written."""
        rows = await self.raw()
        while True:
            data = await ask(self.service, self.merchant.program_key, **query)
            before, rows = rows, await self.raw()
            if Counter(before) == Counter(rows):
                return rows, data
