"""What a service declares about each of its routes; the router, the checks and the API document all read it."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel

from shared.accounts import Grade
from shared.web.problems import Family
from shared.web.request import Request

Security = Literal["partner_key", "bearer", "either", "operator", "none"]
# The tag of probes and documents, which are public and accept any query.
INFRASTRUCTURE: Final = "infrastructure"
Handler = Callable[[Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path template.

    `scope` is one scope or several of which one suffices. `operator_allowed` admits the operator as well as
    API keys; `live_only` refuses test keys, where the change would reach both modes. A route that changes
    state and has no `body` accepts none or `{}`; with `body_required` off, a missing body is read as `{}`. `raw_body`
    lists media types that are passed on unparsed as `request.raw_body`; with `is_streamed` the handler reads them
    itself, by `request.chunks`. `grade` is what an account needs: by default `look` for a GET, `change` for all else.
    `idempotent` reads and documents `Idempotency-Key`, `rate_limited` documents 429 with its headers. `versioned`
    documents `ETag` and, where state changes under a path that names one thing, `If-Match` with its 412.
    `is_open_to_browsers` lets pages of any origin call it. `is_traced` documents `traceparent`, for routes whose
    events carry it on; every route reads it. `is_linked` documents `Link`, the address of the next page.
    `is_tabular` documents that the answer is also a table in CSV, by `Accept`.
    `examples` maps a status, or "request", to an example body.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    handler: Handler
    summary: str
    tag: str
    security: Security
    family: Family
    responses: Mapping[int, type[BaseModel] | str]
    scope: str | tuple[str, ...] | None = None
    operator_allowed: bool = False
    live_only: bool = False
    grade: Grade | None = None
    body: type[BaseModel] | None = None
    body_required: bool = True
    body_limit: int | None = None
    raw_body: tuple[str, ...] = ()
    is_streamed: bool = False
    query: type[BaseModel] | None = None
    idempotent: bool = False
    rate_limited: bool = False
    versioned: bool = False
    is_open_to_browsers: bool = False
    is_traced: bool = False
    is_linked: bool = False
    is_tabular: bool = False
    description: str = ""
    path_descriptions: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[int | Literal["request"], Any] = field(default_factory=dict)

    @property
    def is_conditional(self) -> bool:
        """Whether the request may name the version that it applies to."""
        return self.versioned and self.method != "GET" and "{" in self.path

    @property
    def is_for_lookers(self) -> bool:
        """Whether accounts with read-only access may use it."""
        return self.method == "GET" if self.grade is None else self.grade == "look"

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes of which one suffices; empty if any key will do."""
        if self.scope is None:
            return ()
        return (self.scope,) if isinstance(self.scope, str) else self.scope


class Routes:
    """Routes with shared defaults, each declared above its handler, whose docstring is summary and description.

    `shared` are members of `Route` that all of them have, `missing` is the text of the 404 of those whose path names
    something.
    """

    def __init__(self, path: str, missing: str = "", **shared: Any) -> None:
        self._path = path
        self._missing = missing
        self._shared = shared
        self.all: list[Route] = []

    def get(self, path: str, answer: type[BaseModel] | str, **more: Any) -> Callable[[Handler], Handler]:
        """Add a GET for a path below the common one."""
        return self._route("GET", path, answer, **more)

    def post(self, path: str, answer: type[BaseModel], **more: Any) -> Callable[[Handler], Handler]:
        """Add a POST for a path below the common one."""
        return self._route("POST", path, answer, **more)

    def patch(self, path: str, answer: type[BaseModel], **more: Any) -> Callable[[Handler], Handler]:
        """Add a PATCH for a path below the common one."""
        return self._route("PATCH", path, answer, **more)

    def delete(self, path: str, answer: type[BaseModel], **more: Any) -> Callable[[Handler], Handler]:
        """Add a DELETE for a path below the common one."""
        return self._route("DELETE", path, answer, **more)

    def _route(
        self,
        method: str,
        path: str,
        answer: type[BaseModel] | str,
        *,
        status: int = 200,
        refusals: Mapping[int, type[BaseModel] | str] | None = None,
        **more: Any,
    ) -> Callable[[Handler], Handler]:
        whole = self._path + path
        missing = {404: self._missing} if "{" in whole and self._missing else {}
        responses = {status: answer, **missing, **(refusals or {})}

        def add(handler: Handler) -> Handler:
            summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n\n")
            texts = {"summary": _joined(summary).removesuffix("."), "description": _joined(description)}
            known = {"method": method, "path": whole, "handler": handler, "responses": responses}
            self.all.append(Route(**{**known, **texts, **self._shared, **more}))
            return handler

        return add


def _joined(text: str) -> str:
    return " ".join(text.split())
