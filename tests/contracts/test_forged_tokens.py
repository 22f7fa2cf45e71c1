"""No forged token is taken at any service as it runs: all are refused alike, as fast as each other, and leave no fault.

A good token is taken in its one header only. Which forms there are is in `tests/accounts.py`.
"""

import json
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import pytest

from shared.clock import utc_now
from tests.accounts import DASHBOARD, forged, whole
from tests.contracts.seeding import seed
from tests.databases import SERVICES, Database
from tests.running import RunningServices, running_services

# An API of each family, and the operators'.
PATHS: Final = {
    "codes": ("/v1/coupons", "/api/v1/coupons", "/api/partners/quota", "/v1/stats/codes", "/v1/operator/codes/outbox"),
    "redemption": ("/v1/redemptions", "/v1/stats/redemptions", "/v1/operator/redemption/outbox"),
    "webhooks": ("/v1/webhooks/endpoints", "/v1/operator/webhooks/outbox"),
}
ALL: Final = [(service, path) for service, paths in PATHS.items() for path in paths]
# How much longer than usual the quickest refusal of a form may take; the rest is for a busy machine.
FACTOR, MORE_SECONDS = 3, 0.002


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Asking:
    """Asks one API of a service by its address."""

    http: aiohttp.ClientSession
    url: str

    async def __call__(self, key: str | None, url: str = "", **more: Any) -> Reply:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        headers |= more.pop("headers", {})
        async with self.http.request(more.pop("method", "GET"), url or self.url, headers=headers, **more) as answer:
            return Reply(answer.status, json.loads(await answer.read()), dict(answer.headers))


@pytest.fixture
async def running(database: Database, clean_broker: dict[str, str]) -> AsyncIterator[RunningServices]:
    settings = {f"{name.upper()}_ACCOUNT_KEYS": DASHBOARD.jwks for name in SERVICES}
    async with running_services(database, clean_broker, settings=settings) as made:
        yield made


def token(service: str, path: str, values: dict[str, str]) -> str:
    """Return a token that the API takes."""
    role = "operator" if "/operator/" in path else "partner" if "/partners/" in path else "merchant"
    program_id = None if role == "operator" else values["PROGRAM_ID"]
    partner_id = values["PARTNER_ID"] if role == "partner" else None
    return DASHBOARD.token(service, utc_now(), role, program_id=program_id, partner_id=partner_id)  # type: ignore[arg-type]


@pytest.mark.timeout(300)
async def test_each_form_is_refused_like_an_unknown_token(running: RunningServices) -> None:
    values = await seed(running)
    seen: set[str] = set()
    async with aiohttp.ClientSession() as http:
        for service, path in ALL:
            ask = Asking(http, running[service].url + path)
            good = token(service, path, values)
            assert (await ask(good)).status != 401, path
            unknown = await ask("un.known.token")
            assert unknown.status == 401
            forms = forged(good)
            for name, text in forms.items():
                assert whole(await ask(text)) == whole(unknown), (path, name)
            seen |= forms.keys()
            await as_fast_as_others(ask, forms)
    assert len(seen) >= 40
    for service in SERVICES:
        log = running[service].said()
        assert '"status": 401' in log or "status=401" in log
        for fault in ("Traceback", "http_handler_failed", "http_server_failed", "status=5"):
            assert fault not in log, log


async def as_fast_as_others(ask: Asking, forms: dict[str, str]) -> None:
    """Fail if even the quickest of many refusals of a form takes much longer than is usual."""
    fastest = {name: min([await seconds(ask, text) for _ in range(2)]) for name, text in forms.items()}
    limit = FACTOR * statistics.median(fastest.values()) + MORE_SECONDS
    for name in [name for name, took in fastest.items() if took > limit]:
        again = min([await seconds(ask, forms[name]) for _ in range(50)])
        assert again <= limit, (ask.url, name, again, limit)


async def seconds(ask: Asking, text: str) -> float:
    started = time.perf_counter()
    await ask(text)
    return time.perf_counter() - started


async def test_a_good_token_counts_in_its_header_alone(running: RunningServices) -> None:
    """Addresses, cookies and forms end up in logs and histories, or are sent by a browser that nobody asked."""
    values = await seed(running)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        for service, path in ALL:
            url = running[service].url + path
            ask, good = Asking(http, url), token(service, path, values)
            without = whole(await ask(None))
            assert without[0] == 401
            for name in ("access_token", "token", "authorization", "key"):
                assert whole(await ask(None, f"{url}?{name}={good}")) == without, (path, name)
                assert whole(await ask(None, headers={"Cookie": f"{name}={good}"})) == without, (path, name)
            for header in (
                "X-Partner-Key",
                "X-Api-Key",
                "Proxy-Authorization",
                "X-Authorization",
                "Sec-WebSocket-Protocol",
            ):
                refused = await ask(None, headers={header: good})
                assert refused.status == 401, (path, header)
            for scheme in ("Basic", "DPoP", "Token", "JWT", "Bearer,", ""):
                refused = await ask(None, headers={"Authorization": f"{scheme} {good}"})
                assert refused.status == 401, (path, scheme)
            for form in ("data", "json"):
                refused = await ask(None, method="GET", **{form: {"access_token": good}})  # type: ignore[arg-type]
                assert refused.status == 401, (path, form)
