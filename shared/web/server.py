"""The HTTP server below the application: answers malformed requests with a fixed body, and logs none of their content.

aiohttp would repeat the faulty line, and any key in it, in its answer and in a traceback.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.web_protocol import RequestHandler

from shared.ids import new_request_id
from shared.log import get_logger
from shared.metrics import HTTP_REQUESTS
from shared.web.problems import Family, HTTPProblem, internal_error, render_problem
from shared.web.responses import standard_headers

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]
UNROUTED: Final[web.AppKey[Serve]] = web.AppKey("unrouted")
"""Answers requests for paths that no route can have."""
UNREAD: Final = web.AppKey("unread", str)
"""The family of refusals for requests whose path is unknown."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_MOST_SLASHES: Final = 16
_METHOD: Final = "UNKNOWN"


async def let_body_come(http: web.Request) -> None:
    """Tell a client that waits for permission to send its body; any other expectation is ignored.

    aiohttp would refuse it, and repeat it in the answer.
    """
    if http.version >= HttpVersion11 and http.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await http.writer.write(_CONTINUE)
        http.writer.output_size = 0


def malformed_request() -> HTTPProblem:
    """Return the refusal for a request whose head cannot be read."""
    return HTTPProblem(400, "malformed_request", "The request is not HTTP/1.1, or a line of it is too long.")


class _Handler(RequestHandler):
    """One connection."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; an unexpected error of the parser ends this connection and nothing else."""
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - anybody may write anything to a socket
            _log_malformed(new_request_id(), error)
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that did not reach a route, and close the connection."""
        request_id = new_request_id()
        if status == HTTPStatus.BAD_REQUEST:
            problem, route = malformed_request(), "malformed"
            _log_malformed(request_id, exc)
        else:
            problem, route = internal_error(), "unrouted"
            get_logger().error("http_server_failed", request_id=request_id, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("Part of another answer has already been sent.")
        family = self._manager.family if isinstance(self._manager, _Server) else "management"
        response = render_problem(family, problem, request_id)
        response.headers.update(standard_headers(request_id))
        response.force_close()
        HTTP_REQUESTS.labels(_METHOD, route, str(problem.status)).inc()
        return response


def _log_malformed(request_id: str, error: BaseException | None) -> None:
    # Only the kind of error: its text contains the unreadable line.
    get_logger().info("http_request_malformed", request_id=request_id, reason=type(error).__name__)


class _Server(web.Server):
    family: Family = "management"

    def __call__(self) -> RequestHandler:
        return _Handler(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application as aiohttp's runner does, on our own server."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        # This is the only way to set the class of an application's connections.
        made.__class__ = _Server
        if isinstance(made, _Server) and self.app.get(UNREAD) == "query":
            made.family = "query"
        if (unrouted := self.app.get(UNROUTED)) is not None:
            made.request_handler = _before_router(made.request_handler, unrouted)
        return made


def _before_router(route: Any, unrouted: Serve) -> Any:
    """Keep from the router what it would answer in plain text, and paths with very many slashes, slow to split."""

    def serve(http: web.Request) -> Awaitable[web.StreamResponse]:
        path = http.rel_url.raw_path
        is_path = path.startswith("/") and path.count("/") <= _MOST_SLASHES
        found: Awaitable[web.StreamResponse] = route(http) if is_path else unrouted(http)
        return found

    return serve
