"""The fixed parts of every API document: error bodies, security schemes, headers."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from shared.trace import TRACEPARENT
from shared.web.problems import PARTNER_KEY_CHALLENGE, PARTNER_KEY_HEADER, PROBLEM_JSON, PROBLEM_TYPE, Family

_ERRORS_MAP: Final = {
    "type": "object",
    "description": "Messages by dotted field name.",
    "additionalProperties": {"type": "array", "items": {"type": "string"}},
}

_PROBLEM: Final[Mapping[str, Any]] = {
    "type": {"type": "string", "examples": [PROBLEM_TYPE + "not_found"]},
    "title": {"type": "string"},
    "detail": {"type": "string"},
    "request_id": {"type": "string"},
    "message": {"type": "string"},
}
ERROR_SCHEMAS: Final[Mapping[str, Any]] = {
    "Problem": {
        "type": "object",
        "description": "A refusal (RFC 9457); `code` is stable, `message` equals `detail`. It has no "
        "`status`, which elsewhere in this API is 1 for success: read the HTTP status.",
        "required": [*_PROBLEM, "code"],
        "properties": {**_PROBLEM, "code": {"type": "string"}, "errors": _ERRORS_MAP},
    },
    "QueryProblem": {
        "type": "object",
        "description": "A refusal (RFC 9457); `error_code` is stable, `message` equals `detail`.",
        "required": [*_PROBLEM, "status", "error_code"],
        "properties": {
            **_PROBLEM,
            "status": {"type": "integer", "description": "The HTTP status."},
            "error_code": {"type": "string"},
            "errors": _ERRORS_MAP,
        },
    },
    "PartnerError": {
        "type": "object",
        "description": "A refusal of the partner API; `error_code` is stable, and `code` is never a member of it.",
        "required": ["ok", "error", "error_code"],
        "properties": {
            "ok": {"type": "boolean", "const": False},
            "error": {"type": "string"},
            "error_code": {"type": "string"},
            "errors": _ERRORS_MAP,
        },
    },
}
ERROR_REFS: Final[Mapping[Family, str]] = {
    "partner": "PartnerError",
    "management": "Problem",
    "query": "QueryProblem",
}

SECURITY_SCHEMES: Final[Mapping[str, Any]] = {
    "partnerKey": {"type": "apiKey", "in": "header", "name": PARTNER_KEY_HEADER},
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "operator": {"type": "http", "scheme": "bearer", "description": "The operator's token."},
    "account": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token (RFC 9068, EdDSA), valid for a minute, in which a dashboard states which account acts. "
        "It is signed with a key that the service knows. A role has the scopes of keys; an account with read-only "
        "access is refused with `look_only` by every method but GET, unless the route says otherwise.",
    },
}

COMMON_HEADERS: Final = ("X-Request-Id",)
HEADERS: Final[Mapping[str, Any]] = {
    "X-Request-Id": {
        "description": "The id of this request in our logs; an id that you send is used.",
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {
        "description": "The header that takes the key.",
        "schema": {"type": "string", "examples": ["Bearer", PARTNER_KEY_CHALLENGE]},
    },
    "Link": {
        "description": "The address of the next page (RFC 8288, `rel` next); absent on the last page.",
        "schema": {"type": "string", "examples": ['</api/v1/coupons?limit=2&cursor=WyIwMTk>; rel="next"']},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
    "RateLimit": {
        "description": "The requests left in the window, and the seconds until it resets.",
        "schema": {"type": "string", "examples": ['"default";r=99;t=60']},
    },
    "RateLimit-Policy": {
        "description": "The number of requests allowed per window, and the length of the window in seconds.",
        "schema": {"type": "string", "examples": ['"default";q=100;w=60']},
    },
    "ETag": {
        "description": "The version of the object, for If-Match.",
        "schema": {"type": "string"},
    },
    "Idempotent-Replayed": {
        "description": "Present when the response is the stored one of an earlier request.",
        "schema": {"type": "string", "const": "true"},
    },
}
IF_MATCH_PARAMETER: Final[Mapping[str, Any]] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag that you have read. If the object has changed since, nothing is done (412).",
    "schema": {"type": "string", "examples": ['"3"']},
}
IDEMPOTENCY_PARAMETER: Final[Mapping[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "Makes retries safe: a repeat with the same key returns the first response. A refusal that changed nothing is "
        "not stored."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}
TRACEPARENT_PARAMETER: Final[Mapping[str, Any]] = {
    "name": TRACEPARENT,
    "in": "header",
    "required": False,
    "description": (
        "The trace (W3C Trace Context) that this request belongs to. The resulting events and webhooks carry it "
        "unchanged; an invalid value is ignored."
    ),
    "schema": {"type": "string", "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]},
}


def schema_ref(name: str) -> dict[str, str]:
    """Return a reference to a component schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def header_refs(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return references to component headers."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def error_content_type(family: Family) -> str:
    """Return the content type of a family's refusals."""
    return "application/json" if family == "partner" else PROBLEM_JSON
