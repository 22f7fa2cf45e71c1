"""The keys of a dashboard change while its accounts use the services, who refuse nobody for it."""

import asyncio
import itertools
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.account_tokens import Acting, Signer
from shared.clock import utc_now
from tests.accounts import key_set, public_jwk
from tests.databases import SERVICES, Database
from tests.running import OPERATOR_TOKEN, RunningService, running_services

PATHS = {"codes": "/v1/coupons", "redemption": "/v1/redemptions", "webhooks": "/v1/webhooks/endpoints"}
LEAST = 30


@dataclass
class Accounts:
    """Ask both replicas of a service in turn, but the one that is taken out, until they are told that it is over."""

    service: str
    replicas: list[RunningService]
    http: aiohttp.ClientSession
    program_id: uuid.UUID
    signer: Signer
    answered: Counter[str] = field(default_factory=Counter)
    is_over: bool = False
    _out: str = ""
    _turns: "itertools.cycle[int]" = field(default_factory=lambda: itertools.cycle((0, 1)))
    _in_flight: Counter[str] = field(default_factory=Counter)

    async def come(self) -> None:
        while not self.is_over:
            replica = self.replicas[next(self._turns)]
            if replica.url != self._out:
                await self.ask(replica)
            await asyncio.sleep(0.01)

    async def ask(self, replica: RunningService) -> None:
        signer = self.signer
        acting = Acting(uuid.uuid4(), "merchant", "look", uuid.uuid4().hex, self.program_id)
        headers = {"Authorization": f"Bearer {signer.sign(acting, self.service, utc_now(), uuid.uuid4())}"}
        self._in_flight[replica.url] += 1
        try:
            async with self.http.get(replica.url + PATHS[self.service], headers=headers) as response:
                assert response.status == 200, (signer.key_id, await response.text())
        finally:
            self._in_flight[replica.url] -= 1
        self.answered[signer.key_id] += 1

    async def restarted_with(self, *signers: Signer) -> None:
        """Restart one after the other with these keys, as a balancer sees it: who is taken out is asked no more."""
        for replica in self.replicas:
            self._out = replica.url
            await self._left(replica.url)
            await replica.stop()
            given = key_set(*(public_jwk(signer, "merchant") for signer in signers))
            replica.environment = {**replica.environment, f"{self.service.upper()}_ACCOUNT_KEYS": given}
            replica.start()
            await replica.ready()
            self._out = ""

    async def _left(self, url: str) -> None:
        await until(lambda: not self._in_flight[url])

    async def more(self, key_id: str) -> None:
        """Wait until some more were answered that were signed with this key."""
        wanted = self.answered[key_id] + LEAST
        await until(lambda: self.answered[key_id] >= wanted)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it takes milliseconds
            await asyncio.sleep(0.01)


async def make_program(http: aiohttp.ClientSession, codes: RunningService) -> uuid.UUID:
    headers, body = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}, {"name": "Program"}
    async with http.post(f"{codes.url}/v1/programs", headers=headers, json=body) as response:
        assert response.status == 201, await response.text()
        return uuid.UUID((await response.json())["data"]["id"])


@pytest.mark.timeout(240)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_dashboard_changes_its_key_under_load_without_a_refusal(
    database: Database, clean_broker: dict[str, str], service: str
) -> None:
    """The steps of docs/operations.md: both keys everywhere, then sign with the new one, then the old one goes."""
    old, new = (Signer("https://dashboard.example", name, Ed25519PrivateKey.generate()) for name in ("old", "new"))
    settings = {f"{service.upper()}_ACCOUNT_KEYS": key_set(public_jwk(old, "merchant"))}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)))
        both = [
            await stack.enter_async_context(running_services(database, clean_broker, names=names, settings=settings))
            for names in (["codes", service] if service != "codes" else ["codes"], [service])
        ]
        program_id = await make_program(http, both[0]["codes"])
        accounts = Accounts(service, [each[service] for each in both], http, program_id, old)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(accounts.come())
            await accounts.more("old")
            await accounts.restarted_with(old, new)
            await accounts.more("old")
            accounts.signer = new
            await accounts.more("new")
            await accounts.restarted_with(new)
            await accounts.more("new")
            accounts.is_over = True
        accounts.signer = old
        for replica in accounts.replicas:
            with pytest.raises(AssertionError, match="invalid_api_key"):
                await accounts.ask(replica)
