"""What every handler of this service needs of a request: the use cases, who acts, one answer per key."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

from aiohttp import web

from services.codes.api.errors import translate
from services.codes.api.use_cases import USE_CASES, UseCases
from services.codes.domain.access import Actor
from services.codes.domain.coupons import id_in
from services.codes.domain.errors import CodesError
from shared.idempotency import Once
from shared.web import Operator, Request, answered_once

T = TypeVar("T")

# Tells which tenant a request means by the id of a partner: `Request.tenant`.
Tenant = Callable[[uuid.UUID], uuid.UUID]
_OPERATOR_ID: Final = uuid.UUID(int=0)


def use_cases(request: Request) -> UseCases:
    """Return the service's use cases."""
    return request.dependency(USE_CASES)


def actor(request: Request) -> Actor:
    """Return who acts: the operator, or a key confined to its program."""
    principal = request.principal
    if isinstance(principal, Operator):
        return Actor(None, "operator")
    return Actor(principal.program_id, f"key {principal.key_id}", principal.key_id, principal.scopes)


def once(request: Request, render: Callable[[T], web.Response], *, has_secret: bool = False) -> Once[T]:
    """Return how this request is answered, and under which key, if any, the answer is kept.

    An answer with a secret is kept for the API key that asked: another one may not be allowed what that secret allows.
    """
    principal = request.principal
    if isinstance(principal, Operator):
        owner_id = _OPERATOR_ID
    else:
        owner_id = principal.key_id if has_secret else principal.partner_id or principal.program_id
    return answered_once(request, owner_id, render, has_secret=has_secret)


def partner_in(request: Request, text: str) -> uuid.UUID | None:
    """Return whom a request means by the text of a partner's id; None if it spells no id."""
    found = id_in(text)
    return None if found is None else request.tenant(found)


@contextmanager
def naming(words: Mapping[str, str]) -> Iterator[None]:
    """Refuse in the words that this request knows: names of fields by ours, and what it calls a partner."""
    try:
        yield
    except CodesError as error:
        problem = translate(error, words)
        if problem is None or not problem.errors:
            raise
        raise problem from error
