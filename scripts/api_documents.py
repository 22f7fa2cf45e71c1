"""Generates the OpenAPI document of every service from its routes, exactly as the service serves it."""

import importlib
import json
from pathlib import Path

from scripts.event_documents import ROOT
from shared.api_keys import Credential
from shared.web.application import DOCUMENT, build_application
from shared.web.health import Report

OPENAPI_FOLDER = ROOT / "docs" / "openapi"
SERVICES = ("codes", "redemption", "webhooks", "dashboard")


def openapi_documents() -> dict[Path, str]:
    """Return the document of each service, formatted for reading: file to content."""
    return {OPENAPI_FOLDER / f"{service}.json": _document(service) for service in SERVICES}


def _document(service: str) -> str:
    declared = importlib.import_module(f"services.{service}.api.routes")
    app = build_application(
        service,
        declared.ROUTES,
        authenticate=_nobody,
        ready=_never,
        title=f"Mintwire {service}",
        version="1",
        webhooks=getattr(declared, "WEBHOOKS", None),
    )
    return json.dumps(json.loads(app[DOCUMENT].json), indent=2, ensure_ascii=False) + "\n"


async def _nobody(_key: str) -> Credential | None:
    return None


async def _never() -> Report:
    return Report({"service": "only its document is generated"})
