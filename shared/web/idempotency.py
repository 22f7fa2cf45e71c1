"""One answer per Idempotency-Key: how it is written for storage, and how it is sent."""

import uuid
from collections.abc import Callable
from typing import TypeVar

from aiohttp import hdrs, web

from shared.idempotency import Answer, IdempotentRequest, Once
from shared.web.problems import PROBLEM_JSON
from shared.web.request import Request
from shared.web.responses import replayed_response

T = TypeVar("T")


def answered_once(
    request: Request,
    owner_id: uuid.UUID,
    render: Callable[[T], web.Response | Answer],
    *,
    has_secret: bool = False,
    acted: Callable[[T], bool] | None = None,
) -> Once[T]:
    """Return how this request is answered, and under which of the owner's keys, if any, the answer is stored."""
    return Once(_idempotent(request, owner_id), lambda result: _answer(render(result)), has_secret, acted)


def respond(request: Request, answer: Answer) -> web.Response:
    """Send an answer, new or stored."""
    is_problem = answer.status >= 400 and request.family != "partner"
    content_type = PROBLEM_JSON if is_problem else "application/json"
    if answer.is_replayed:
        return replayed_response(answer.body, answer.status, content_type)
    headers = {**answer.headers, hdrs.CONTENT_TYPE: content_type}
    return web.Response(body=answer.body, status=answer.status, headers=headers)


def _idempotent(request: Request, owner_id: uuid.UUID) -> IdempotentRequest | None:
    if request.idempotency_key is None:
        return None
    resource = request.http.match_info.route.resource
    path = request.http.path if resource is None else resource.canonical
    return IdempotentRequest(owner_id, f"{request.http.method} {path}", request.idempotency_key, request.fingerprint)


def _answer(response: web.Response | Answer) -> Answer:
    if isinstance(response, Answer):
        return response
    body = response.body
    if not isinstance(body, bytes):
        raise TypeError("an answer that may be stored consists of bytes")
    headers = {name: value for name, value in response.headers.items() if name != hdrs.CONTENT_TYPE}
    return Answer(response.status, body, headers)
