"""The OpenAPI 3.1 document of a service, generated from its routes, so that it cannot contradict them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.accounts import SCOPES
from shared.web.endpoint import body_model, takes_query_body
from shared.web.models import NoBody
from shared.web.openapi_parts import (
    COMMON_HEADERS,
    ERROR_REFS,
    ERROR_SCHEMAS,
    HEADERS,
    IDEMPOTENCY_PARAMETER,
    IF_MATCH_PARAMETER,
    SECURITY_SCHEMES,
    TRACEPARENT_PARAMETER,
    error_content_type,
    header_refs,
    schema_ref,
)
from shared.web.routes import INFRASTRUCTURE, Route, Security

Schemas = dict[str, Any]
Mode = Literal["validation", "serialization"]

_PARAMETER: Final = re.compile(r"\{(\w++)[^{}]*+\}")
_BETWEEN_WORDS: Final = re.compile(r"[^a-zA-Z0-9]+")
_KEYWORDS: Final = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
_NOT_IN_JSON_SCHEMA: Final = ("decimal_places", "max_digits", "strict", "allow_inf_nan")
_ADDED: Final = frozenset({409, 413, 422})
_REQUIREMENTS: Final[Mapping[Security, list[dict[str, list[str]]]]] = {
    "partner_key": [{"partnerKey": []}],
    "bearer": [{"bearer": []}],
    "either": [{"partnerKey": []}, {"bearer": []}],
    "operator": [{"operator": []}],
    "none": [],
}


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The webhooks that the service sends: path items by name, and the schemas that they refer to."""

    items: Mapping[str, Any]
    schemas: Schemas


class Document:
    """A document that is built when it is first read: building it takes longer than starting the rest of a service."""

    def __init__(self, build: Callable[[], bytes]) -> None:
        self._build = build

    @cached_property
    def json(self) -> bytes:
        """The document as JSON."""
        return self._build()


def build_document(
    service: str,
    routes: Sequence[Route],
    *,
    title: str,
    version: str,
    description: str = "",
    webhooks: Callable[[], Webhooks] | None = None,
) -> bytes:
    """Return the document as JSON."""
    schemas = _Schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(service, route, schemas)
    info = {"title": title, "version": version}
    if description:
        info["description"] = description
    described = None if webhooks is None else webhooks()
    sent: dict[str, Any] = {} if described is None else {"webhooks": described.items}
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": info,
            "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
            "paths": paths,
            **sent,
            "components": {
                "schemas": {**schemas.components, **ERROR_SCHEMAS, **({} if described is None else described.schemas)},
                "securitySchemes": SECURITY_SCHEMES,
                "headers": HEADERS,
            },
        }
    )


class _Schemas:
    """The JSON Schemas of all models that the routes name."""

    def __init__(self, routes: Sequence[Route]) -> None:
        wanted = dict.fromkeys(pair for route in routes for pair in _models(route))
        self._refs, document = models_json_schema(list(wanted), ref_template="#/components/schemas/{model}")
        definitions = {name: _in_json_schema_words(node) for name, node in document.get("$defs", {}).items()}
        self._queries = {
            route.query: definitions[self._name(route.query, "validation")]
            for route in routes
            if route.query is not None
        }
        queries = {self._name(model, "validation") for model in self._queries}
        self.components: Schemas = {n: node for n, node in definitions.items() if n not in queries}

    def ref(self, model: type[BaseModel], mode: Mode) -> dict[str, Any]:
        return dict(self._refs[model, mode])

    def query_parameters(self, model: type[BaseModel]) -> Iterable[dict[str, Any]]:
        schema = self._queries[model]
        required = schema.get("required", ())
        for name, node in schema.get("properties", {}).items():
            parameter = {"name": name, "in": "query", "required": name in required, "schema": node}
            if (description := node.get("description")) is not None:
                parameter["description"] = description
            yield parameter

    def _name(self, model: type[BaseModel], mode: Mode) -> str:
        ref: str = self._refs[model, mode]["$ref"]
        return ref.rpartition("/")[2]


def _models(route: Route) -> Iterable[tuple[type[BaseModel], Mode]]:
    if (body := body_model(route)) is not None:
        yield body, "validation"
    if route.query is not None:
        yield route.query, "validation"
    for answer in route.responses.values():
        if not isinstance(answer, str):
            yield answer, "serialization"


def _in_json_schema_words(node: Any) -> Any:
    """Rename the bounds that pydantic leaves in its own words when a type has a validator before it."""
    if isinstance(node, list):
        return [_in_json_schema_words(item) for item in node]
    if not isinstance(node, dict):
        return node
    is_number = node.get("type") in ("integer", "number")
    made: dict[str, Any] = {}
    for name, value in node.items():
        if is_number and name in _NOT_IN_JSON_SCHEMA:
            continue
        if is_number and name in _KEYWORDS:
            made[_KEYWORDS[name]] = float(value) if isinstance(value, str) else value
        else:
            made[name] = _in_json_schema_words(value)
    return made


def _operation(service: str, route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(service, route),
        "summary": route.summary,
        "tags": [route.tag],
        "security": _security(route),
        "responses": _responses(route, schemas),
    }
    if text := _description(route):
        operation["description"] = text
    if parameters := list(_parameters(route, schemas)):
        operation["parameters"] = parameters
    if (body := _request_body(route, schemas)) is not None:
        operation["requestBody"] = body
    return operation


def _operation_id(service: str, route: Route) -> str:
    words = [word for word in _BETWEEN_WORDS.split(_PARAMETER.sub(r"{\1}", route.path)) if word]
    return "_".join([service, route.method.lower(), *words])


def _security(route: Route) -> list[dict[str, list[str]]]:
    requirements = list(_REQUIREMENTS[route.security])
    if route.operator_allowed:
        requirements.append({"operator": []})
    return [*requirements, {"account": []}] if _takes_accounts(route) else requirements


def _takes_accounts(route: Route) -> bool:
    if route.security == "operator" or route.operator_allowed:
        return True
    return any(not scopes.isdisjoint(route.scopes) for scopes in SCOPES.values())


def _description(route: Route) -> str:
    parts = [route.description] if route.description else []
    if route.scopes:
        named = " or ".join(f"`{scope}`" for scope in route.scopes)
        parts.append(f"The API key or account needs the scope {named}.")
    if takes_query_body(route):
        parts.append(
            "Clients that send no body with DELETE may say the same in the query string, as `a[b]=c` for the member "
            "`b` of the object `a`."
        )
    if route.grade is not None and _takes_accounts(route):
        parts.append(f"An account needs the grade `{route.grade}`.")
    return "\n\n".join(parts)


def _parameters(route: Route, schemas: _Schemas) -> Iterable[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        parameter = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        if (text := route.path_descriptions.get(name)) is not None:
            parameter["description"] = text
        yield parameter
    if route.query is not None:
        yield from schemas.query_parameters(route.query)
    if route.idempotent:
        yield dict(IDEMPOTENCY_PARAMETER)
    if route.is_conditional:
        yield dict(IF_MATCH_PARAMETER)
    if route.is_traced:
        yield dict(TRACEPARENT_PARAMETER)


def _request_body(route: Route, schemas: _Schemas) -> dict[str, Any] | None:
    if route.raw_body:
        content: dict[str, Any] = {kind: {"schema": {"type": "string"}} for kind in route.raw_body}
        return {"required": route.body_required, "content": content}
    model = body_model(route)
    if model is None or (model is NoBody and not route.idempotent):
        return None
    media: dict[str, Any] = {"schema": schemas.ref(model, "validation")}
    if "request" in route.examples:
        media["example"] = route.examples["request"]
    is_required = route.body is not None and route.body_required
    return {"required": is_required, "content": {"application/json": media}}


def _responses(route: Route, schemas: _Schemas) -> dict[str, Any]:
    usual = _usual_refusals(route)
    answers: dict[int, type[BaseModel] | str] = {**usual, **route.responses}
    for status in _ADDED.intersection(usual, route.responses):
        # The route's own refusals override those of every route of its kind.
        answers[status] = f"{route.responses[status]}. {usual[status]}"
    return {str(status): _response(route, status, answers[status], schemas) for status in sorted(answers)}


def _header_names(route: Route, status: int) -> Iterable[str]:
    yield from COMMON_HEADERS
    if route.rate_limited and (status < 300 or status == 429):
        yield from ("RateLimit", "RateLimit-Policy")
    if route.versioned and status < 300:
        yield "ETag"
    if route.is_linked and status < 300:
        yield "Link"
    if status == 401:
        yield "WWW-Authenticate"
    if status in (409, 429, 503):
        yield "Retry-After"
    if route.idempotent and status < 500:
        yield "Idempotent-Replayed"


def _response(route: Route, status: int, answer: type[BaseModel] | str, schemas: _Schemas) -> dict[str, Any]:
    described = answer if isinstance(answer, str) else HTTPStatus(status).phrase
    response: dict[str, Any] = {"description": described, "headers": header_refs(_header_names(route, status))}
    media: dict[str, Any] = {}
    if not isinstance(answer, str):
        media["schema"] = schemas.ref(answer, "serialization")
    elif status >= 400:
        media["schema"] = schema_ref(ERROR_REFS[route.family])
    if status in route.examples:
        media["example"] = route.examples[status]
    if media:
        kind = error_content_type(route.family) if status >= 400 else "application/json"
        response["content"] = {kind: media}
        if route.is_tabular and status == 200:
            response["content"]["text/csv"] = {"schema": {"type": "string"}}
    return response


def _usual_refusals(route: Route) -> dict[int, str]:
    found = {500: "Something went wrong on our side", 503: "Try again in a moment"}
    if route.security != "none":
        found |= {401: "The API key is missing or not valid", 403: "The API key or account may not do this"}
    if route.security == "operator":
        found[403] = "Only the operator may do this (`operator_only`)"
    if not route.is_for_lookers and _takes_accounts(route):
        found[403] += ", or the account has read-only access (`look_only`)"
    if route.live_only:
        found[403] += ", or this is a test key (`live_key_required`)"
    if body_model(route) is not None or route.raw_body:
        found |= {
            400: "The body is not acceptable JSON",
            413: "The body is too large (`too_large`)",
            415: "The body's media type or encoding is not accepted",
        }
    if route.tag != INFRASTRUCTURE:
        # A route without parameters too, because it refuses any.
        found[422] = "A field cannot be accepted (`invalid_fields`)"
    if route.idempotent:
        found |= {
            400: "The request is malformed",
            409: "A request with the same Idempotency-Key is in progress (`idempotency_in_progress`)",
            422: f"{found[422]}, or the Idempotency-Key was used with a different request (`idempotency_key_reused`)",
        }
    if route.is_conditional:
        found[412] = "The object has changed since the version in If-Match"
    if route.rate_limited:
        found[429] = "Too many requests"
    return found
