"""The HTTP edge that all services share: routes as data, strict requests, refusals by family, API document, health.

Services import from here; the modules below are its parts.
"""

from shared.web.application import BODY_LIMIT, DOCUMENT, ROUTES, build_application
from shared.web.authentication import Authenticate
from shared.web.endpoint import Translate
from shared.web.health import LOOP_LAG, READINESS, LoopLag, Readiness
from shared.web.idempotency import answered_once, respond
from shared.web.models import (
    Data,
    Instant,
    InstantOrDate,
    Int,
    LongText,
    NoBody,
    Number,
    QueryAddress,
    QueryInt,
    QueryModel,
    RequestModel,
    ResponseModel,
    Spelled,
    Text,
    field_error,
)
from shared.web.openapi import Webhooks
from shared.web.paging import Page, PageMeta, PageQuery, decode_cursor, encode_cursor, next_cursor, page_after, page_of
from shared.web.problems import (
    Family,
    HTTPProblem,
    invalid_api_key,
    invalid_field,
    invalid_fields,
    live_key_required,
    not_found,
    partner_inactive,
    quota_exhausted,
    render_problem,
    scope_missing,
)
from shared.web.request import OPERATOR, Operator, Principal, Request
from shared.web.responses import (
    data_response,
    idempotency_in_progress,
    idempotency_key_reused,
    json_response,
    page_response,
    rate_limit_headers,
    rate_limited,
    replayed_response,
)
from shared.web.routes import Handler, Route, Security

__all__ = [
    "BODY_LIMIT",
    "DOCUMENT",
    "LOOP_LAG",
    "OPERATOR",
    "READINESS",
    "ROUTES",
    "Authenticate",
    "Data",
    "Family",
    "HTTPProblem",
    "Handler",
    "Instant",
    "InstantOrDate",
    "Int",
    "LongText",
    "LoopLag",
    "NoBody",
    "Number",
    "Operator",
    "Page",
    "PageMeta",
    "PageQuery",
    "Principal",
    "QueryAddress",
    "QueryInt",
    "QueryModel",
    "Readiness",
    "Request",
    "RequestModel",
    "ResponseModel",
    "Route",
    "Security",
    "Spelled",
    "Text",
    "Translate",
    "Webhooks",
    "answered_once",
    "build_application",
    "data_response",
    "decode_cursor",
    "encode_cursor",
    "field_error",
    "idempotency_in_progress",
    "idempotency_key_reused",
    "invalid_api_key",
    "invalid_field",
    "invalid_fields",
    "json_response",
    "live_key_required",
    "next_cursor",
    "not_found",
    "page_after",
    "page_of",
    "page_response",
    "partner_inactive",
    "quota_exhausted",
    "rate_limit_headers",
    "rate_limited",
    "render_problem",
    "replayed_response",
    "respond",
    "scope_missing",
]
