"""The request as a handler sees it: the caller, the parsed body and query, and what idempotency needs."""

import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
from aiohttp import web
from pydantic import BaseModel
from yarl import URL

from shared.accounts import Account
from shared.api_keys import Credential
from shared.known_ids import NOBODY
from shared.modes import in_mode, is_test
from shared.web.bodies import body_chunks, media_type
from shared.web.problems import Family, HTTPProblem, not_found, render_problem
from shared.web.responses import standard_headers

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operator:
    """The holder of the operator's token, or an operator's account."""

    account: Account | None = None

    @property
    def actor(self) -> str:
        """The caller's name in an audit log."""
        return "operator" if self.account is None else self.account.name


OPERATOR: Final = Operator()
PUBLIC_URL: Final = web.AppKey("public_url", str)
Principal = Credential | Operator
# Paths contain the ids that callers know; rows contain the ids of tenants.
_OWNERS: Final = frozenset({"program_id", "partner_id"})


class Request:
    """One authenticated, validated request. `http` is aiohttp's own object, for everything else."""

    __slots__ = (
        "family",
        "http",
        "idempotency_key",
        "parsed_body",
        "parsed_query",
        "presented",
        "raw_body",
        "request_id",
        "stream",
        "traceparent",
    )

    def __init__(self, http: web.Request, request_id: str, family: Family, traceparent: str | None = None) -> None:
        self.http = http
        self.request_id = request_id
        self.family = family
        # The caller's trace context, if the request has a valid one; events and webhooks carry it on.
        self.traceparent = traceparent
        self.idempotency_key: str | None = None
        self.raw_body = b""
        # Set by the gate and the endpoint before the handler runs, which reads them through the typed members below.
        self.presented: Principal | None = None
        self.parsed_body: BaseModel | None = None
        self.parsed_query: BaseModel | None = None
        self.stream: web.StreamResponse | None = None

    def adopt(self, account: Account) -> None:
        """Take over the request id from the token of an account, here and in the log."""
        self.request_id = account.request_id
        # Only the id is bound: the next request binds its own, while anything else would outlive this one.
        structlog.contextvars.bind_contextvars(request_id=account.request_id)

    def dependency(self, key: web.AppKey[T]) -> T:
        """Return what the composition root stored under a typed key, usually a use case."""
        return self.http.app[key]

    @property
    def principal(self) -> Principal:
        """The caller. Only routes with security have one."""
        if self.presented is None:
            raise TypeError("a route without security has no principal")
        return self.presented

    @property
    def credential(self) -> Credential:
        """The calling API key or account; for routes that the operator cannot use."""
        principal = self.principal
        if isinstance(principal, Operator):
            raise TypeError("the operator has no credential")
        return principal

    @property
    def account(self) -> Account | None:
        """The calling account, if the caller is one."""
        return self.principal.account

    @property
    def is_operator(self) -> bool:
        """Whether the caller is the operator, by token or by account."""
        return isinstance(self.presented, Operator)

    @property
    def is_test(self) -> bool:
        """Whether the caller's key is of test mode; the operator's token is of live mode."""
        return isinstance(self.presented, Credential) and self.presented.is_test

    @property
    def program_id(self) -> uuid.UUID:
        """The program of the key: its tenant in the mode of the key."""
        return self.credential.program_id

    @property
    def partner_id(self) -> uuid.UUID:
        """The partner that the key belongs to; a program's key is refused as `scope_missing`."""
        partner_id = self.credential.partner_id
        if partner_id is None:
            raise HTTPProblem(403, "scope_missing", "This needs a partner's API key.")
        return partner_id

    def body(self, model: type[M]) -> M:
        """Return the parsed body; `model` must be the one that the route declares."""
        if not isinstance(self.parsed_body, model):
            raise TypeError(f"the route does not declare the body {model.__name__}")
        return self.parsed_body

    def query(self, model: type[M]) -> M:
        """Return the parsed query string; `model` must be the one that the route declares."""
        if not isinstance(self.parsed_query, model):
            raise TypeError(f"the route does not declare the query {model.__name__}")
        return self.parsed_query

    @property
    def url(self) -> URL:
        """The requested path and query, from which `link` makes the addresses of other pages."""
        return self.http.rel_url

    def link(self, url: URL) -> str:
        """Return an address for a response: under the configured public URL, or else relative.

        Never from the Host header or a proxy's forwarding headers: those can be forged, and Host loses the https.
        """
        return f"{self.http.app.get(PUBLIC_URL, '')}{url}"

    def path(self, name: str) -> str:
        """Return a path parameter as text."""
        return self.http.match_info[name]

    def tenant(self, owner_id: uuid.UUID) -> uuid.UUID:
        """Return the tenant of a program or partner that the request names, in the mode of the key.

        No caller knows the id of a test tenant, so a request that contains one matches nothing.
        """
        return NOBODY if is_test(owner_id) else in_mode(owner_id, test=self.is_test)

    def path_id(self, name: str) -> uuid.UUID:
        """Return a path parameter as an id; a malformed id matches nothing, so it raises the 404."""
        text = self.http.match_info[name]
        try:
            found = uuid.UUID(text)
        except ValueError:
            raise not_found() from None
        if len(text) != 36:
            raise not_found()
        return self.tenant(found) if name in _OWNERS else found

    @property
    def media_type(self) -> str:
        """The media type of the body, without its parameters."""
        return media_type(self.http)

    async def chunks(self, accepted: Sequence[str], limit: int) -> AsyncIterator[bytes]:
        """Yield the body of a streamed route; after its end, its digest represents it in the fingerprint."""
        digest = hashlib.sha256()
        async for chunk in body_chunks(self.http, accepted, limit):
            digest.update(chunk)
            yield chunk
        self.raw_body = digest.digest()

    @property
    def body_sha256(self) -> bytes:
        """The digest of the body's bytes as received."""
        return hashlib.sha256(self.raw_body).digest()

    @property
    def fingerprint(self) -> bytes:
        """A digest of method, path, query and body: what must be equal when an Idempotency-Key is repeated."""
        head = f"{self.http.method} {self.http.raw_path}\n".encode("utf-8", "surrogateescape")
        return hashlib.sha256(head + self.raw_body).digest()

    def render(self, problem: HTTPProblem) -> web.Response:
        """Render a refusal in this route's family, for answers that are stored before they are sent."""
        return render_problem(self.family, problem, self.request_id)

    async def start_stream(self, content_type: str, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
        """Begin a response of unknown length; write to the returned object, then return it.

        An error after this cuts the connection, so that a client cannot take a partial response for a complete one.
        """
        all_headers = standard_headers(self.request_id) | dict(headers or {}) | {"Content-Type": content_type}
        stream = web.StreamResponse(headers=all_headers)
        self.stream = stream
        await stream.prepare(self.http)
        return stream
