"""What every handler of this service needs from a request: the use cases, and one answer per key."""

from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from services.redemption.api.use_cases import USE_CASES, UseCases
from shared.idempotency import Answer, Once
from shared.web import Request, answered_once, invalid_field

T = TypeVar("T")


def use_cases(request: Request) -> UseCases:
    """Return the service's use cases."""
    return request.dependency(USE_CASES)


def once(
    request: Request, render: Callable[[T], web.Response | Answer], *, acted: Callable[[T], bool] | None = None
) -> Once[T]:
    """Return how this request is answered, and under which key, if any, the answer is stored."""
    return answered_once(request, request.program_id, render, acted=acted)


def order_ref(request: Request) -> str:
    """Return the order that the path names."""
    reference = request.path("order_ref")
    if len(reference) > 255:
        raise invalid_field("order_ref", "The order_ref field must not have more than 255 characters.")
    if not reference.strip():
        raise invalid_field("order_ref", "The order_ref field must not be blank.")
    return reference
