"""One service's HTTP API, as an account asks it."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

import aiohttp
import orjson

from services.dashboard.clients.errors import NotThere, Refused, ServiceDown
from shared.account_tokens import Acting, Signer
from shared.clock import Clock
from shared.web.responses import REPLAYED_HEADER, REQUEST_ID_HEADER

DEADLINE_SECONDS: Final = 2.0
_NO_ANSWER: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})

Query = Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered: its body, as bytes where it is no JSON, and whether a repeat was recognised."""

    status: int
    body: Any
    is_replayed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    is_missing: Literal[False] = False

    @property
    def data(self) -> Any:
        """The `data` member; in the families without one the whole body."""
        return self.body.get("data", self.body) if isinstance(self.body, dict) else self.body

    @property
    def next_cursor(self) -> str | None:
        """The cursor of the next page of a list."""
        if not isinstance(self.body, dict):
            return None
        found = (self.body.get("meta") or self.body).get("next_cursor")
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class ServiceClient:
    """Calls one service; nothing is ever tried twice."""

    name: str
    url: str
    http: aiohttp.ClientSession
    signer: Signer
    clock: Clock

    async def call(
        self,
        acting: Acting,
        method: str,
        path: str,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> Answer:
        """Return the answer; raises ServiceDown, NotThere and Refused."""
        token = self.signer.sign(acting, self.name, self.clock(), uuid.uuid4())
        headers = {"Authorization": f"Bearer {token}", REQUEST_ID_HEADER: acting.request_id}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        params = {name: str(value) for name, value in (query or {}).items() if value not in (None, "")}
        try:
            async with (
                asyncio.timeout(seconds),
                self.http.request(
                    method,
                    self.url + path,
                    params=params,
                    data=None if body is None else orjson.dumps(body),
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                raw = await response.read()
                return self._answer(response, raw)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServiceDown(self.name, type(error).__name__) from error

    def _answer(self, response: aiohttp.ClientResponse, raw: bytes) -> Answer:
        status = response.status
        if status in _NO_ANSWER:
            raise ServiceDown(self.name, f"answered {status}")
        try:
            parsed = orjson.loads(raw) if raw else None
        except orjson.JSONDecodeError:
            parsed = raw
        if status == HTTPStatus.NOT_FOUND:
            raise NotThere(self.name, "There is nothing here, or it is not yours to see.")
        if status >= HTTPStatus.BAD_REQUEST:
            raise self._refusal(response, parsed if isinstance(parsed, dict) else {})
        is_replayed = response.headers.get(REPLAYED_HEADER) == "true"
        return Answer(status, parsed, is_replayed, dict(response.headers))

    def _refusal(self, response: aiohttp.ClientResponse, problem: Mapping[str, Any]) -> Refused:
        after = response.headers.get("Retry-After", "")
        return Refused(
            self.name,
            response.status,
            str(problem.get("error_code") or problem.get("code") or "refused"),
            str(problem.get("detail") or problem.get("error") or "The service refuses this."),
            problem.get("errors"),
            int(after) if after.isdecimal() else None,
        )


@dataclass(frozen=True, slots=True)
class Services:
    """The clients of all three services."""

    codes: ServiceClient
    redemption: ServiceClient
    webhooks: ServiceClient

    def named(self, name: str) -> ServiceClient:
        """Return the client of a service."""
        found: ServiceClient = getattr(self, name)
        return found


def build_services(urls: Mapping[str, str], http: aiohttp.ClientSession, signer: Signer, clock: Clock) -> Services:
    """Wire the clients; does no I/O."""
    return Services(**{name: ServiceClient(name, url, http, signer, clock) for name, url in urls.items()})
