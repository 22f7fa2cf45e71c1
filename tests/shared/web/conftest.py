"""A small application with a route of each kind, served on a real socket."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from shared.accounts import Account
from shared.api_keys import Credential
from shared.faults import TransientFault
from shared.web import build_application
from shared.web.health import Report
from tests.shared.web.routes import KEPT, Kept, OutOfStock, make_routes

Client = TestClient[web.Request, web.Application]


def credential(kind: str = "secret", *scopes: str, partner: bool = True) -> Credential:
    """Return a live key with the given scopes."""
    return Credential(
        key_id=uuid.uuid4(),
        digest=b"",
        kind="publishable" if kind == "publishable" else "secret",
        scopes=frozenset(scopes),
        rate_limit_per_minute=None,
        program_id=uuid.uuid4(),
        program_name="Program",
        partner_id=uuid.uuid4() if partner else None,
        partner_name="Partner" if partner else None,
        partner_status="active" if partner else None,
        revoked_at=None,
    )


@dataclass
class Keys:
    """The keys that the application knows; `is_away` plays the database that does not answer."""

    known: dict[str, Credential] = field(
        default_factory=lambda: {
            "partner": credential("secret", "codes:generate"),
            "program": credential("secret", "manage", partner=False),
            "public": credential("publishable", "validate", "manage", partner=False),
        }
    )
    accounts: dict[str, Credential | Account] = field(default_factory=dict)
    looked_at_as_tokens: list[str] = field(default_factory=list)
    is_away: bool = False

    async def identify(self, token: str) -> Credential | Account | None:
        self.looked_at_as_tokens.append(token)
        return self.accounts.get(token)

    async def find(self, text: str) -> Credential | None:
        if self.is_away:
            raise TransientFault("database away")
        return self.known.get(text)


@dataclass
class Parts:
    """What `/readyz` is told."""

    states: dict[str, str] = field(default_factory=lambda: {"database": "ok"})
    details: dict[str, str] = field(default_factory=dict)

    async def ready(self) -> Report:
        return Report(self.states, self.details)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def kept() -> Kept:
    return Kept(asyncio.Event(), asyncio.Event(), asyncio.Event())


@pytest.fixture
def app(keys: Keys, parts: Parts, kept: Kept) -> web.Application:
    made = build_application(
        "codes",
        make_routes(),
        authenticate=keys.find,
        identify=keys.identify,
        ready=parts.ready,
        title="Test API",
        version="1.2.3",
        operator_token="operator-token",
        translate=OutOfStock.translate,
    )
    made[KEPT] = kept
    return made


@pytest.fixture
async def client(app: web.Application) -> AsyncIterator[Client]:
    async with TestClient(TestServer(app)) as made:
        yield made
