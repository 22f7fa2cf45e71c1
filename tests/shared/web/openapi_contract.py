"""Holds a service's router and its API document against each other; each service's tests call `check_document`."""

import re
from typing import Any

import orjson
from aiohttp import web
from openapi_spec_validator import validate

from shared.web import DOCUMENT, ROUTES
from shared.web.docs_page import PREFIX

_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


def check_document(app: web.Application) -> dict[str, Any]:
    """Fail where the document is not valid OpenAPI, or says more or less than the router; return the document."""
    document: dict[str, Any] = orjson.loads(app[DOCUMENT].json)
    validate(document)
    assert served_operations(app) == documented_operations(document)
    for route in app[ROUTES]:
        if not route.path.startswith(PREFIX):
            operation = document["paths"][_plain(route.path)][route.method.lower()]
            assert bool(operation["security"]) == (route.security != "none"), route.path
            assert {int(status) for status in operation["responses"]} >= set(route.responses), route.path
    return document


def served_operations(app: web.Application) -> set[tuple[str, str]]:
    """Return method and path template of everything that the router serves, but for the page itself."""
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method in _METHODS and not route.resource.canonical.startswith(PREFIX)
    }


def documented_operations(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Return method and path template of everything that the document describes."""
    return {(method.upper(), path) for path, item in document["paths"].items() for method in item}


def _plain(path: str) -> str:
    return re.sub(r"\{(\w+)[^}]*\}", r"{\1}", path)
