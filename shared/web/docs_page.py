"""The documentation page: a vendored Swagger UI under a strict policy, nothing inline and nothing from elsewhere."""

from pathlib import Path
from typing import Final

from aiohttp import web

from shared.web.request import Request
from shared.web.routes import Handler

_VENDORED: Final = Path(__file__).parent / "vendor" / "swagger-ui-5.35.0"
PREFIX: Final = "/docs"
_ASSETS: Final = "/docs/5.35.0"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API reference</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/5.35.0/swagger-ui.css">
<div id="reference"></div>
<script src="docs/5.35.0/swagger-ui-bundle.js"></script>
<script src="docs/init.js"></script>
</html>
"""
_INIT: Final = b"""SwaggerUIBundle({
  url: new URL("openapi.json", window.location.href).href,
  dom_id: "#reference",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""


async def _page(_request: Request) -> web.StreamResponse:
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
    }
    return web.Response(body=_PAGE, headers=headers)


async def _init(_request: Request) -> web.StreamResponse:
    headers = {"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "no-cache"}
    return web.Response(body=_INIT, headers=headers)


def _asset(name: str) -> Handler:
    async def serve(_request: Request) -> web.StreamResponse:
        # The version is part of the path, so the cache never goes stale.
        return web.FileResponse(_VENDORED / name, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    return serve


PAGES: Final[tuple[tuple[str, Handler, str], ...]] = (
    ("/docs", _page, "This document as a page"),
    ("/docs/init.js", _init, "The script that starts the page"),
    (f"{_ASSETS}/swagger-ui-bundle.js", _asset("swagger-ui-bundle.js"), "Swagger UI"),
    (f"{_ASSETS}/swagger-ui.css", _asset("swagger-ui.css"), "Swagger UI's styles"),
)
