"""The documentation page: a vendored Swagger UI under a strict policy, nothing inline and nothing from elsewhere."""

from pathlib import Path
from typing import Final

from aiohttp import web

from shared.web.request import Request
from shared.web.routes import Handler

_VENDORED: Final = Path(__file__).parent / "vendor" / "swagger-ui-5.35.0"
PREFIX: Final = "/docs"
_VERSION: Final = "5.35.0"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API reference: {service}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{assets}/{version}/swagger-ui.css">
<div id="reference" data-document="{document}"></div>
<script src="{assets}/{version}/swagger-ui-bundle.js"></script>
<script src="{assets}/init.js"></script>
</html>
"""
_INIT: Final = b"""SwaggerUIBundle({
  url: new URL(document.getElementById("reference").dataset.document, window.location.href).href,
  dom_id: "#reference",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""


def pages(service: str) -> tuple[tuple[str, Handler, str], ...]:
    """Return path, handler and summary of everything that the page consists of.

    The page has two addresses: the short one, and one with the service's name, which several services can have behind
    one host. Its links are relative, so that it works below any path.
    """
    own = f"{PREFIX}/{service}"
    return (
        (PREFIX, _page(service, f"docs/{service}", "openapi.json"), "This document as a page"),
        (own, _page(service, service, f"../openapi/{service}.json"), "The same page"),
        (f"{own}/init.js", _init, "The script that starts the page"),
        (f"{own}/{_VERSION}/swagger-ui-bundle.js", _asset("swagger-ui-bundle.js"), "Swagger UI"),
        (f"{own}/{_VERSION}/swagger-ui.css", _asset("swagger-ui.css"), "Swagger UI's styles"),
    )


def _page(service: str, assets: str, document: str) -> Handler:
    body = _PAGE.format(service=service, assets=assets, version=_VERSION, document=document).encode()

    async def serve(_request: Request) -> web.StreamResponse:
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": "no-cache",
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
        }
        return web.Response(body=body, headers=headers)

    return serve


async def _init(_request: Request) -> web.StreamResponse:
    headers = {"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "no-cache"}
    return web.Response(body=_INIT, headers=headers)


def _asset(name: str) -> Handler:
    async def serve(_request: Request) -> web.StreamResponse:
        # The version is part of the path, so the cache never goes stale.
        return web.FileResponse(_VENDORED / name, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    return serve
