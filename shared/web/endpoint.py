"""The one layer around every handler: identity, checks, response in the family's shape, log line, metrics.

One coroutine instead of a chain of middlewares, because each layer costs every request.
"""

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from shared.faults import TransientFault
from shared.idempotency import AnswerUnreadable, IdempotencyInProgress, IdempotencyKeyReused
from shared.ids import new_request_id
from shared.log import get_logger, line_writer
from shared.metrics import HTTP_REQUESTS, HTTP_SECONDS
from shared.trace import TRACEPARENT, trace_facts, valid_traceparent
from shared.web.authentication import Gate
from shared.web.bodies import (
    JSON_TYPES,
    idempotency_key,
    parse_body,
    parse_query,
    parse_query_body,
    read_body,
    refuse_query,
)
from shared.web.models import NoBody
from shared.web.problems import NO_SUCH_OBJECT, HTTPProblem, internal_error, not_found, nothing_at, render_problem
from shared.web.request import Operator, Principal, Request
from shared.web.responses import (
    REQUEST_ID_HEADER,
    SECURITY_HEADERS,
    answer_unreadable,
    idempotency_in_progress,
    idempotency_key_reused,
)
from shared.web.routes import Route

Translate = Callable[[Exception], HTTPProblem | None]

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH"})


class Endpoint:
    """Serves one route; `is_probe` marks those of the infrastructure, which are logged at debug level."""

    def __init__(
        self,
        route: Route,
        gate: Gate | None,
        body_limit: int,
        translate: Translate | None = None,
        *,
        is_probe: bool = False,
    ) -> None:
        self.route = route
        self._gate = gate
        self._handler = route.handler
        self._family = route.family
        self._is_probe = is_probe
        self._limit = route.body_limit or body_limit
        self._model = body_model(route)
        self._takes_body = self._model is not None or (bool(route.raw_body) and not route.is_streamed)
        self._body_required = route.body_required and (route.body is not None or bool(route.raw_body))
        self._accepted = route.raw_body or JSON_TYPES
        self._takes_query_body = takes_query_body(route)
        self._empty = None if self._body_required or self._model is None else _empty(self._model)
        self._translate = translate
        self._observe = HTTP_SECONDS.labels(route.path).observe
        self._counters: dict[tuple[str, int], Callable[[], None]] = {}
        # Bound once: the lazy logger that structlog hands out would be copied for every line.
        self._logger = get_logger().bind()
        self._write_line = partial(self._logger.debug, "http_request") if is_probe else line_writer("http_request")

    async def serve(self, http: web.Request) -> web.StreamResponse:
        """Answer one request. Every outcome passes here, so each leaves one log line and one count.

        A handler runs to its end when its client goes away: aiohttp's handler cancellation stays off.
        """
        started = time.perf_counter()
        request_id = http.headers.get(REQUEST_ID_HEADER)
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            request_id = new_request_id()
        traceparent = _traceparent(http) if TRACEPARENT in http.headers else None
        structlog.contextvars.bind_contextvars(request_id=request_id, **trace_facts(traceparent))
        request = Request(http, request_id, self._family, traceparent)
        try:
            await self._prepare(request)
            response = await self._handler(request)
        except HTTPProblem as problem:
            response = self._refuse(request, problem)
        except Exception as error:  # noqa: BLE001 - the process edge: nothing above could answer
            response = self._refuse(request, self._problem_of(error))
        headers = response.headers
        headers[REQUEST_ID_HEADER] = request.request_id
        for name, value in SECURITY_HEADERS.items():
            if name not in headers:
                headers[name] = value
        self._record(request, response.status, time.perf_counter() - started)
        return response

    async def _prepare(self, request: Request) -> None:
        http, route = request.http, self.route
        if "%00" in http.raw_path and "\x00" in http.path:
            raise not_found()
        if self._gate is not None:
            await self._gate.admit(request)
        if route.idempotent:
            request.idempotency_key = idempotency_key(http)
        if route.query is not None:
            request.parsed_query = parse_query(http, route.query)
        elif http.query_string and not self._is_probe and not self._takes_query_body:
            refuse_query(http)
        if self._takes_body:
            await self._take_body(request)

    async def _take_body(self, request: Request) -> None:
        raw = request.raw_body = await read_body(request.http, self._accepted, self._limit)
        if self._takes_query_body and self._model is not None and request.http.query_string:
            if raw:
                refuse_query(request.http)
            request.parsed_body = parse_query_body(request.http, self._model, self._limit)
            return
        if not raw and self._body_required:
            raise HTTPProblem(400, "body_required", "This request needs a body.")
        if self._model is None:
            return
        if not raw and self._empty is not None:
            request.parsed_body = self._empty
        else:
            request.parsed_body = parse_body(raw or b"{}", self._model, self._limit)
            # An empty object means the same as no body, so under an Idempotency-Key they are one request.
            if self._empty is not None and not request.parsed_body.model_fields_set:
                request.raw_body = b""

    def _refuse(self, request: Request, problem: HTTPProblem) -> web.StreamResponse:
        if problem.detail == NO_SUCH_OBJECT and (named := request.http.match_info):
            problem = nothing_at(named)
        if request.stream is None:
            return render_problem(self._family, problem, request.request_id)
        if (transport := request.http.transport) is not None:
            transport.abort()
        return request.stream

    def _problem_of(self, error: Exception) -> HTTPProblem:
        if self._translate is not None and (problem := self._translate(error)) is not None:
            return problem
        if isinstance(error, IdempotencyInProgress):
            return idempotency_in_progress()
        if isinstance(error, IdempotencyKeyReused):
            return idempotency_key_reused()
        if isinstance(error, AnswerUnreadable):
            self._logger.error("answer_unreadable", route=self.route.path)
            return answer_unreadable()
        if isinstance(error, TransientFault):
            self._logger.warning("http_transient_fault", route=self.route.path, reason=str(error))
            return HTTPProblem(
                503, "temporarily_unavailable", "Please try again in a moment.", headers={"Retry-After": "1"}
            )
        self._logger.error("http_handler_failed", route=self.route.path, exc_info=error)
        return internal_error()

    def _record(self, request: Request, status: int, seconds: float) -> None:
        method = request.http.method
        self._observe(seconds)
        count = self._counters.get((method, status))
        if count is None:
            count = HTTP_REQUESTS.labels(method, self.route.path, str(status)).inc
            self._counters[method, status] = count
        count()
        self._write_line(
            request_id=request.request_id,
            method=method,
            route=self.route.path,
            status=status,
            duration_ms=round(seconds * 1000, 2),
            **_who(request.presented),
            **trace_facts(request.traceparent),
        )


def body_model(route: Route) -> type[BaseModel] | None:
    """Return the model of this route's JSON body; a route that changes state takes at least `{}`."""
    if route.body is not None:
        return route.body
    return NoBody if route.method in _CHANGING and not route.raw_body else None


def takes_query_body(route: Route) -> bool:
    """Whether the query string may say what the body says: many clients and proxies drop the body of a DELETE."""
    return route.method == "DELETE" and route.body is not None and route.query is None


def _empty(model: type[BaseModel]) -> BaseModel | None:
    # Models are frozen, so requests without a body can share one. If `{}` is not enough, the request is refused.
    try:
        return model.model_validate_json(b"{}")
    except ValidationError:
        return None


def _traceparent(http: web.Request) -> str | None:
    """Return the trace context of a request; two contexts count as none."""
    sent = http.headers.getall(TRACEPARENT)
    return valid_traceparent(sent[0]) if len(sent) == 1 else None


def _who(presented: Principal | None) -> dict[str, str | None]:
    if presented is None:
        return {"key_id": None}
    if (account := presented.account) is not None:
        return {"account_id": str(account.id), "issuer": account.issuer}
    return {"key_id": "operator" if isinstance(presented, Operator) else str(presented.key_id)}
