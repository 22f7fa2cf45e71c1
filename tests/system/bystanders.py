"""Bystanders for a fault: 200 deliveries and 100 redemptions are under way beside it, and nobody may notice.

A scenario is a fault between three lines of its own:

    async def test_nobody_notices_a_lost_database(stack: Stack) -> None:
        signs = Signs(stack)
        async with bystanders(stack) as others:
            with others.database_away():
                ...  # bring the fault about, and mend it
        await signs.in_log("redemption", "consumer_paused")

When the block begins, 200 webhooks are on their way to partners that have nothing to do with the fault, and customers
mint and redeem codes, by event and over HTTP in turns, twenty a second, until the block has ended and at least 100 have
redeemed. The end of the block waits for all of them and then fails if anybody noticed:

- a request got anything but its answer: a 5xx, a closed connection, no answer within 10 seconds. A 503 with Retry-After
  is right inside `database_away()` and up to 3 seconds after it, and is asked again;
- a redemption was not counted exactly once, by `redemption` or by `codes`;
- a webhook never came, came under two ids, did not verify, or came later than 5 seconds after its redemption was
  accepted, not counting the time inside `database_away()` and `broker_away()` and 3 seconds after each.

Only what the fault itself hits is exempt, so give the fault partners and keys of its own (`stack.new_partner()`).
`tests.system.signs.Signs` asks whether the fault is visible.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import count
from typing import Any

import aiohttp

from shared.broker.publisher import Publisher
from tests.system.stack import Partner, Receiver, Stack, completed, publish_all, until

PARTNERS = 4
DELIVERIES = 200
REDEMPTIONS = 100
LEAST_UNDER_WAY = 100
PACE_SECONDS = 0.05
LATEST_SECONDS = 5.0
RECOVERY_SECONDS = 3.0
ANSWER_SECONDS = 10
# As many receivers take: their answers must not all be there before the fault is.
RECEIVER_SECONDS = 0.05


@asynccontextmanager
async def bystanders(stack: Stack) -> AsyncIterator["Bystanders"]:
    """Put the bystanders' work under way, let the block do its worst, and then ask whether anybody noticed."""
    async with AsyncExitStack() as endings:
        shops = []
        for _ in range(PARTNERS):
            partner = await stack.new_partner()
            receiver = await endings.enter_async_context(Receiver.of(partner))
            receiver.answer_seconds = RECEIVER_SECONDS
            shops.append((partner, receiver))
        checkout = await endings.enter_async_context(stack.checkout())
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        session = await endings.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        others = Bystanders(stack, shops, checkout, session)
        await others.put_deliveries_under_way()
        customers = asyncio.create_task(others.send_customers())
        try:
            yield others
            others.is_fault_over = True
            await customers
            await others.nobody_noticed()
        finally:
            customers.cancel()
            await asyncio.wait({customers})


class Bystanders:
    """What the bystanders have under way, and what they noticed of the fault."""

    def __init__(
        self,
        stack: Stack,
        shops: Sequence[tuple[Partner, Receiver]],
        checkout: Publisher,
        session: aiohttp.ClientSession,
    ) -> None:
        self.is_fault_over = False
        self.noticed: list[str] = []
        # Code to the time from which its webhook may take five seconds.
        self.accepted_at: dict[str, float] = {}
        self._stack = stack
        self._shops = shops
        self._checkout = checkout
        self._session = session
        self._database_away: list[list[float]] = []
        self._broker_away: list[list[float]] = []
        self._now = asyncio.get_running_loop().time

    @contextmanager
    def database_away(self) -> Iterator[None]:
        """Around the time for which no service can use its database: 503 is the right answer, webhooks wait."""
        with self._away(self._database_away):
            yield

    @contextmanager
    def broker_away(self) -> Iterator[None]:
        """Around the time for which the broker takes or gives nothing: webhooks wait, HTTP goes on."""
        with self._away(self._broker_away):
            yield

    @contextmanager
    def _away(self, spans: list[list[float]]) -> Iterator[None]:
        span = [self._now(), float("inf")]
        spans.append(span)
        try:
            yield
        finally:
            span[1] = self._now() + RECOVERY_SECONDS

    async def put_deliveries_under_way(self) -> None:
        """Have 200 codes redeemed at one moment and return when the first of their webhooks is there."""
        codes = [code for partner, _ in self._shops for code in await partner.codes(DELIVERIES // len(self._shops))]
        # The decider is held until all is published, as in the tests of kills.
        decider = self._stack.pid("redemption")
        assert decider is not None
        os.kill(decider, signal.SIGSTOP)
        try:
            await publish_all(self._checkout, [self._event(code) for code in codes])
        finally:
            os.kill(decider, signal.SIGCONT)
        self.accepted_at = dict.fromkeys(codes, self._now())
        await until(lambda: bool(self._arrived_at()), "the first webhook", pause=0.001)
        left = DELIVERIES - len(self._arrived_at())
        assert left >= LEAST_UNDER_WAY, f"only {left} deliveries are under way: too few for the fault to mean anything"

    async def send_customers(self) -> None:
        """Send a customer every twentieth of a second until the fault is over and there were at least 100."""
        async with asyncio.TaskGroup() as customers:
            for number in count():
                if number >= REDEMPTIONS and self.is_fault_over:
                    break
                customers.create_task(self._customer(number))
                await asyncio.sleep(PACE_SECONDS)

    async def _customer(self, number: int) -> None:
        """Mint a code and redeem it; look at an endpoint too, so that each service is asked."""
        partner, receiver = self._shops[number % len(self._shops)]
        minted = await self._ask("POST", "codes", "/api/partners/codes/generate", {"X-Partner-Key": partner.key})
        endpoint = f"/v1/webhooks/endpoints/{receiver.endpoint_id}"
        await self._ask("GET", "webhooks", endpoint, {"Authorization": f"Bearer {partner.key}"})
        if minted is None:
            return
        code = minted["code"]
        if number % 2:
            await publish_all(self._checkout, [self._event(code)])
        else:
            body = {"codes": [code], "order_ref": f"order-of-{code}"}
            key = {"Authorization": f"Bearer {self._stack.told['program']['api_key']}"}
            if await self._ask("POST", "redemption", "/v1/redemptions", key, body) is None:
                return
        self.accepted_at[code] = self._now()

    async def _ask(self, method: str, service: str, path: str, headers: dict[str, str], body: object = None) -> Any:
        """Return the answer, asking again after a 503 that is right; what is not right is noticed."""
        while True:
            asked_at = self._now()
            try:
                async with self._session.request(
                    method, self._stack.url(service) + path, headers=headers, json=body
                ) as response:
                    answer = await response.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError, ValueError) as failed:
                self.noticed.append(f"{method} {path}: {failed!r}")
                return None
            if response.status in {200, 201}:
                return answer
            is_away = response.status == 503 and _overlap(self._database_away, asked_at, self._now()) > 0
            if not is_away or "Retry-After" not in response.headers:
                self.noticed.append(f"{method} {path}: {response.status} {answer}")
                return None
            await asyncio.sleep(int(response.headers["Retry-After"]))

    def _event(self, code: str) -> Any:
        return completed(self._stack.told["program"]["id"], [code], f"order-of-{code}")

    def _arrived_at(self) -> dict[str, float]:
        return {code: at for _, receiver in self._shops for code, at in receiver.arrived_at.items()}

    async def caught_up(self) -> None:
        """Wait for the webhooks of all that was accepted by now."""
        codes = set(self.accepted_at)
        await until(lambda: codes <= set(self._arrived_at()), lambda: f"webhooks of {codes - set(self._arrived_at())}")

    async def nobody_noticed(self) -> None:
        """Wait for every webhook and every count, then fail with all that anybody noticed."""
        assert not self.noticed, f"{len(self.noticed)} requests noticed: {self.noticed[:10]}"
        assert len(self.accepted_at) >= DELIVERIES + REDEMPTIONS
        codes = set(self.accepted_at)
        await until(lambda: codes <= set(self._arrived_at()), lambda: f"webhooks of {codes - set(self._arrived_at())}")
        self._each_webhook_came_once_and_in_time()
        sql = "SELECT order_ref, code FROM redemption.redemptions WHERE code = ANY ($1)"
        rows = await self._stack.rows(sql, list(codes))
        assert Counter((row["order_ref"], row["code"]) for row in rows) == Counter((f"order-of-{c}", c) for c in codes)
        await self._stack.each_is_used_once(list(codes))

    def _each_webhook_came_once_and_in_time(self) -> None:
        assert [receiver.refused for _, receiver in self._shops] == [0] * len(self._shops)
        told = {(message_id, body["code"]) for _, receiver in self._shops for message_id, body, _ in receiver.verified}
        assert Counter(code for _, code in told) == Counter(self.accepted_at.keys())
        waited = {code: self._waited(code, arrived_at) for code, arrived_at in self._arrived_at().items()}
        late = {code: round(seconds, 1) for code, seconds in waited.items() if seconds > LATEST_SECONDS}
        assert not late, f"{len(late)} webhooks came late, by seconds: {late}"

    def _waited(self, code: str, arrived_at: float) -> float:
        accepted_at = self.accepted_at[code]
        return arrived_at - accepted_at - _overlap([*self._database_away, *self._broker_away], accepted_at, arrived_at)


def _overlap(spans: Sequence[Sequence[float]], begin: float, end: float) -> float:
    return sum(max(0.0, min(end, last) - max(begin, first)) for first, last in spans)
