"""Generates the proxy's maps for one origin from the routes of the services: whose a path is, how large a body may be.

A path is looked up with a slash behind it, so that an entry ends where a segment ends; the longest entry counts.
"""

import importlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

from scripts.event_documents import ROOT
from shared.web.application import BODY_LIMIT, infrastructure_routes
from shared.web.routes import Route

FOLDER: Final = ROOT / "deploy" / "haproxy"
SERVICES_MAP: Final = FOLDER / "origin-services.map"
BODIES_MAP: Final = FOLDER / "origin-bodies.map"
# Every service has these at the same path, so an origin has them at none, or below it by the service's name.
SHARED: Final = ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs")
PROBES: Final = SHARED[:3]
_HEAD: Final = "# Generated from the routes of the services: python -m scripts.generate_docs\n"
_PARAMETER: Final = re.compile(r"\{[^{}]*\}")


class Collision(Exception):
    """Two services have a route at the same path."""


def api_services() -> tuple[str, ...]:
    """Return the services that have an HTTP API."""
    found = (ROOT / "services").glob("*/api/routes.py")
    return tuple(sorted(path.parts[-3] for path in found if hasattr(_declared(path.parts[-3]), "ROUTES")))


def routes_of(service: str) -> tuple[Route, ...]:
    """Return all routes of a service, with those that each service has."""
    return (*_declared(service).ROUTES, *infrastructure_routes(service))


def origin_maps() -> dict[Path, str]:
    """Return both maps: file to content."""
    routes = {service: routes_of(service) for service in api_services()}
    paths = {service: {route.path for route in all_} - {*SHARED} for service, all_ in routes.items()}
    for service, own in paths.items():
        own.update(f"{probe}/{service}" for probe in PROBES)
    owners = dict(_entries(paths))
    limits = {
        _PARAMETER.sub("[^/]+", re.sub(r"[.]", r"\\.", route.path)): route.body_limit
        for all_ in routes.values()
        for route in all_
        if (route.body_limit or 0) > BODY_LIMIT
    }
    return {
        SERVICES_MAP: _HEAD + "".join(f"{entry} {owners[entry]}\n" for entry in sorted(owners)),
        BODIES_MAP: _HEAD + "".join(f"^{limited}$ {limits[limited]}\n" for limited in sorted(limits)),
    }


def _declared(service: str) -> ModuleType:
    return importlib.import_module(f"services.{service}.api.routes")


def _entries(paths: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    """Yield the shortest beginnings of paths that one service alone has."""
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for service, own in paths.items():
        for path in own:
            for beginning in _beginnings(path):
                owners[beginning].add(service)
    for service, own in paths.items():
        for path in own:
            entry = next((each for each in _beginnings(path) if owners[each] == {service}), None)
            if entry is None:
                raise Collision(f"{path} of {service} begins as a path of another service does")
            yield entry, service


def _beginnings(path: str) -> Iterator[str]:
    """Yield the beginnings of a path up to its first parameter, the shortest first, but none of one segment.

    `/api` and `/.well-known` are names that any service may come to use.
    """
    segments = path.partition("{")[0].strip("/").split("/")
    for count in range(min(2, len(segments)), len(segments) + 1):
        yield f"/{'/'.join(segments[:count])}/"
