"""Every refusal over HTTP, as one exception with a stable code, and its body in each API family.

Exception
└── HTTPProblem    status, code and detail; raised by handlers and by the services' error tables
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import orjson
from aiohttp import web

Family = Literal["partner", "management", "query"]

PROBLEM_JSON: Final = "application/problem+json"
PROBLEM_TYPE: Final = "urn:mintwire:problem:"

PARTNER_KEY_HEADER: Final = "X-Partner-Key"
BEARER_CHALLENGE: Final = "Bearer"
# The scheme is our own: no registered scheme names its header.
PARTNER_KEY_CHALLENGE: Final = f'ApiKey header="{PARTNER_KEY_HEADER}"'

NO_SUCH_OBJECT: Final = "There is no such object."
# The objects behind path parameters that are not plain ids.
_THINGS: Final[Mapping[str, str]] = {
    "coupon": "coupon with id or uuid_code",
    "code": "code",
    "order_ref": "order",
    "number": "attempt",
    "name": "event type",
    "queue": "queue",
    "dead_letter": "dead letter with key",
}
_MOST_SHOWN: Final = 100


class HTTPProblem(Exception):
    """A request is refused; `errors` maps dotted field names to messages and belongs to status 422."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Mapping[str, Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers


def not_found(detail: str = NO_SUCH_OBJECT) -> HTTPProblem:
    """Return the refusal for a missing object, and equally for one of another account.

    An object that the path names needs no detail: the path parameters describe it.
    """
    return HTTPProblem(404, "not_found", detail)


def nothing_at(parameters: Mapping[str, str]) -> HTTPProblem:
    """Return the refusal for an object that a path names, by the path's parameters, outermost first."""
    *owners, found = (_named(name, value) for name, value in parameters.items())
    return not_found(f"There is no {found}{''.join(f' of the {owner}' for owner in reversed(owners))}.")


def _named(name: str, value: str) -> str:
    thing = _THINGS.get(name, f"{name.removesuffix('_id').replace('_', ' ')} with id")
    return f"{thing} {value[:_MOST_SHOWN]}" if value.isprintable() else thing


def invalid_api_key(challenge: str | None = None) -> HTTPProblem:
    """Return the refusal for a missing, malformed, unknown or revoked key.

    `challenge` names the keys that the route takes; its default depends on the API family.
    """
    headers = None if challenge is None else {"WWW-Authenticate": challenge}
    return HTTPProblem(401, "invalid_api_key", "Invalid API key", headers=headers)


def scope_missing(needed: Sequence[str] = ()) -> HTTPProblem:
    """Return the refusal for a key or an account that lacks each of the scopes that would suffice."""
    wanted = f" It needs the scope {' or '.join(needed)}." if needed else ""
    return HTTPProblem(403, "scope_missing", f"This API key or account may not do this.{wanted}")


def live_key_required() -> HTTPProblem:
    """Return the refusal for a test key where a change would reach live mode."""
    return HTTPProblem(
        403, "live_key_required", "Test keys cannot change what test and live mode share. Use a live API key."
    )


def operator_only() -> HTTPProblem:
    """Return the refusal for a valid key or account where only the operator may act."""
    return HTTPProblem(403, "operator_only", "Only the operator may do this.")


def look_only() -> HTTPProblem:
    """Return the refusal for an account with read-only access where something would change or a secret be shown."""
    return HTTPProblem(403, "look_only", "This account has read-only access: it cannot change or start anything.")


def api_key_required() -> HTTPProblem:
    """Return the refusal for an account where the call to another service needs the caller's own API key."""
    return HTTPProblem(403, "api_key_required", "Accounts cannot do this. Use an API key.")


def internal_error() -> HTTPProblem:
    """Return the refusal for an unexpected error."""
    return HTTPProblem(500, "internal_error", "Something went wrong on our side.")


def invalid_fields(errors: Mapping[str, Sequence[str]], code: str = "invalid_fields") -> HTTPProblem:
    """Return the 422 for fields that cannot be accepted; the first fault becomes the message."""
    texts = [text for listed in errors.values() for text in listed]
    more = len(texts) - 1
    tail = "" if more < 1 else f" (and {more} more error{'' if more == 1 else 's'})"
    return HTTPProblem(422, code, texts[0] + tail, errors)


def invalid_field(field: str, text: str, code: str = "invalid_fields") -> HTTPProblem:
    """Return the 422 for one field."""
    return invalid_fields({field: [text]}, code)


def render_problem(family: Family, problem: HTTPProblem, request_id: str) -> web.Response:
    """Write a refusal in the shape of its API family."""
    if family == "partner":
        body, content_type = _partner_body(problem), "application/json"
    else:
        body, content_type = _problem_body(family, problem, request_id), PROBLEM_JSON
    response = web.Response(body=orjson.dumps(body), status=problem.status, headers={"Content-Type": content_type})
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = PARTNER_KEY_CHALLENGE if family == "partner" else BEARER_CHALLENGE
    if problem.headers:
        response.headers.update(problem.headers)
    return response


def _partner_body(problem: HTTPProblem) -> dict[str, Any]:
    body: dict[str, Any] = {"ok": False, "error": problem.detail, "error_code": problem.code}
    if problem.errors:
        body["errors"] = problem.errors
    return body


def _problem_body(family: Family, problem: HTTPProblem, request_id: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": PROBLEM_TYPE + problem.code,
        "title": problem.code.replace("_", " ").capitalize(),
        "detail": problem.detail,
        "request_id": request_id,
        "message": problem.detail,
    }
    if family == "query":
        # Where `code` holds a promo code, the error code goes elsewhere.
        body |= {"status": problem.status, "error_code": problem.code}
    else:
        # Without `status`, which RFC 9457 leaves optional: in this family `status: 1` means success.
        body["code"] = problem.code
    if problem.errors:
        body["errors"] = problem.errors
    return body
