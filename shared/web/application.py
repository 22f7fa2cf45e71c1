"""Builds a service's web application from its routes, with checks, refusals for unknown paths, and probes."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from aiohttp import hdrs, web

from shared.web import docs_page, health
from shared.web.authentication import Authenticate, Gate, Identify
from shared.web.cors import open_to_browsers, preflight
from shared.web.endpoint import Endpoint, Translate
from shared.web.health import LOOP_LAG, NAME, READINESS, LoopLag, Readiness, Ready
from shared.web.openapi import Document, Webhooks, build_document
from shared.web.problems import Family, HTTPProblem, not_found
from shared.web.request import PUBLIC_URL, Request
from shared.web.routes import INFRASTRUCTURE, Handler, Route
from shared.web.server import UNREAD, UNROUTED, Serve, let_body_come

BODY_LIMIT: Final = 64 * 1024
ROUTES: Final = web.AppKey("routes", tuple[Route, ...])
DOCUMENT: Final = web.AppKey("document", Document)

# Protocol limits. No body is ever decompressed (no bombs), and a handler outlives its client (no half-done work).
_PROTOCOL: Final = {
    "access_log": None,
    "auto_decompress": False,
    "handler_cancellation": False,
    "keepalive_timeout": 75.0,
    "lingering_time": 5.0,
    "max_field_size": 8190,
    "max_headers": 64,
    # Holds the longest query that a route takes: 2,000 characters of up to twelve bytes each, percent-encoded.
    "max_line_size": 32 * 1024,
}
# Matches escaped line ends too: aiohttp itself answers what this misses, with no log line and no metric.
_CATCH_ALL: Final = "/{tail:(?s:.*)}"
_CATCH_ALL_SHOWN: Final = "/{tail}"
_UNMATCHED: Final = "unmatched"


def build_application(
    service: str,
    routes: Sequence[Route],
    *,
    authenticate: Authenticate,
    ready: Ready,
    title: str,
    version: str,
    identify: Identify | None = None,
    operator_token: str | None = None,
    translate: Translate | None = None,
    body_limit: int = BODY_LIMIT,
    description: str = "",
    webhooks: Callable[[], Webhooks] | None = None,
    public_url: str = "",
    pages: Iterable[tuple[str, str, Serve]] = (),
    unmatched: Serve | None = None,
) -> web.Application:
    """Wire the routes and add `/livez /readyz /metrics /openapi.json /docs`, the last two also with the service's name.

    Does no I/O.

    `authenticate` takes a key's text and returns its live credential or None; `identify` does so for the token of an
    account, without it there are no accounts. `translate` is the service's table from
    its own errors to refusals. `ready` maps each part to `ok` or a reason. Links begin with `public_url`.
    `pages` are routes for people (method, path, what serves them), outside the API and its document; `unmatched`
    answers the paths that nothing else does.
    """
    app = web.Application(handler_args=_PROTOCOL, client_max_size=0)
    app[NAME] = service
    app[PUBLIC_URL] = public_url.rstrip("/")
    app[READINESS] = Readiness(ready)
    app[LOOP_LAG] = LoopLag()
    app.cleanup_ctx.append(health.watch_loop)
    infrastructure = infrastructure_routes(service)
    app[ROUTES] = (*routes, *infrastructure)
    app[DOCUMENT] = Document(
        partial(
            build_document,
            service,
            [route for route in app[ROUTES] if not route.path.startswith(docs_page.PREFIX)],
            title=title,
            version=version,
            description=description,
            webhooks=webhooks,
        )
    )
    for route in routes:
        gate = None if route.security == "none" else Gate(route, authenticate, operator_token, identify)
        _add(app, Endpoint(route, gate, body_limit, translate))
    for route in infrastructure:
        _add(app, Endpoint(route, None, body_limit, is_probe=True))
    for method, path, serve in pages:
        _add_route(app, method, path, serve)
    _add_catch_all(app, body_limit, unmatched)
    return app


def _add(app: web.Application, endpoint: Endpoint) -> None:
    route = endpoint.route
    if route.is_open_to_browsers:
        _add_route(app, route.method, route.path, open_to_browsers(endpoint.serve))
        _add_route(app, hdrs.METH_OPTIONS, route.path, preflight(route.method))
        return
    _add_route(app, route.method, route.path, endpoint.serve)
    if route.method == hdrs.METH_GET:
        _add_route(app, hdrs.METH_HEAD, route.path, endpoint.serve)


def _add_route(app: web.Application, method: str, path: str, serve: Serve) -> None:
    app.router.add_route(method, path, serve, expect_handler=let_body_come)


async def _openapi(request: Request) -> web.StreamResponse:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-cache"}
    document = request.dependency(DOCUMENT)
    return web.Response(body=await asyncio.to_thread(lambda: document.json), headers=headers)


def infrastructure_routes(service: str) -> tuple[Route, ...]:
    """Return the routes that every service has; those with the service's name are the only ones of their path."""
    return tuple(
        _infrastructure_route(path, handler, summary)
        for path, handler, summary in (
            ("/livez", health.livez, "Whether the process lives"),
            ("/readyz", health.readyz, "Whether the service can do its work"),
            ("/metrics", health.metrics, "Metrics for Prometheus"),
            ("/openapi.json", _openapi, "This document"),
            (f"/openapi/{service}.json", _openapi, "This document"),
            *docs_page.pages(service),
        )
    )


def _infrastructure_route(path: str, handler: Handler, summary: str) -> Route:
    return Route(
        method="GET",
        path=path,
        handler=handler,
        summary=summary,
        tag=INFRASTRUCTURE,
        security="none",
        family="management",
        responses={200: summary},
    )


def _add_catch_all(app: web.Application, body_limit: int, unmatched: Serve | None) -> None:
    """Answer unmatched requests in the family of their path: the router's own answers would be plain text."""
    if unmatched is not None:
        _add_route(app, "*", _CATCH_ALL, unmatched)
        app[UNROUTED] = unmatched
        return
    by_family = {
        family: Endpoint(_unmatched_route(app, family), None, body_limit, is_probe=True)
        for family in ("partner", "management", "query")
    }

    async def serve(http: web.Request) -> web.StreamResponse:
        return await by_family[_family_of(http.path)].serve(http)

    _add_route(app, "*", _CATCH_ALL, serve)
    app[UNROUTED] = serve
    # Where the service has the partner API, `code` in a body is a promo code.
    is_mixed = any(route.family != "management" for route in app[ROUTES])
    app[UNREAD] = "query" if is_mixed else "management"


def _unmatched_route(app: web.Application, family: Family) -> Route:
    async def refuse(request: Request) -> web.StreamResponse:
        allowed = await _allowed_methods(app.router.resources(), request.http)
        if not allowed:
            raise not_found("There is nothing at this path.")
        listed = ", ".join(sorted(allowed))
        detail = f"This path accepts {listed}."
        raise HTTPProblem(405, "method_not_allowed", detail, headers={"Allow": listed})

    # Only the path matters here, as a name in logs and metrics; the method is that of the catch-all.
    return Route(
        method="GET",
        path=_UNMATCHED,
        handler=refuse,
        summary="",
        tag="",
        security="none",
        family=family,
        responses={},
    )


async def _allowed_methods(resources: Iterable[web.AbstractResource], http: web.Request) -> set[str]:
    written_out: set[str] = set()
    templates: set[str] = set()
    for resource in resources:
        if resource.canonical != _CATCH_ALL_SHOWN:
            found = (await resource.resolve(http))[1]
            # The router lists a path several times if its routes are not adjacent.
            (written_out if isinstance(resource, web.PlainResource) else templates).update(found)
    # A literal path wins over a template that matches it too.
    return written_out or templates


def _family_of(path: str) -> Family:
    if path.startswith("/api/partners"):
        return "partner"
    return "query" if path.startswith("/api/") else "management"
