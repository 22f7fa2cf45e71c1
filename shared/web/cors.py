"""Lets pages of any origin call a route from the browser: such routes take publishable keys, and no cookies."""

from typing import Final

from aiohttp import web

from shared.web.server import Serve

_ANY_ORIGIN: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "X-Request-Id, Retry-After",
}
_PREFLIGHT: Final = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-Id",
    "Access-Control-Max-Age": "7200",
}


def open_to_browsers(serve: Serve) -> Serve:
    """Return `serve` with the headers that let a page read its responses, refusals included."""

    async def serve_page(http: web.Request) -> web.StreamResponse:
        response = await serve(http)
        response.headers.update(_ANY_ORIGIN)
        return response

    return serve_page


def preflight(method: str) -> Serve:
    """Return the handler of preflight requests, by which a browser asks whether a page may send the request."""
    headers = {**_ANY_ORIGIN, **_PREFLIGHT, "Access-Control-Allow-Methods": method, "Allow": f"{method}, OPTIONS"}

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers=headers)

    return answer
