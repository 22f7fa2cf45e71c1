"""What every handler of this service needs from a request: the use cases, the actor, one answer per key."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Final, TypeVar

from aiohttp import web

from services.codes.api.errors import translate
from services.codes.api.use_cases import USE_CASES, UseCases
from services.codes.domain.access import Actor
from services.codes.domain.coupons import id_in
from services.codes.domain.errors import CodesError
from services.codes.domain.given import Given, Record
from shared.idempotency import Answer, Once
from shared.known_ids import FIRST_ID, NOBODY
from shared.web import Operator, Request, RequestModel, answered_once

T = TypeVar("T")
D = TypeVar("D", bound=Record)

# The owner of the operator's stored answers; the operator has no id.
_OPERATOR_ID: Final = NOBODY


def use_cases(request: Request) -> UseCases:
    """Return the service's use cases."""
    return request.dependency(USE_CASES)


def actor(request: Request) -> Actor:
    """Return the actor: the operator, or a key or an account confined to its program."""
    principal = request.principal
    is_account = principal.account is not None
    if isinstance(principal, Operator):
        account_id = None if principal.account is None else principal.account.id
        return Actor(None, principal.actor, account_id, is_account=is_account)
    return Actor(principal.program_id, principal.actor, principal.key_id, principal.scopes, is_account)


def once(request: Request, render: Callable[[T], web.Response | Answer], *, has_secret: bool = False) -> Once[T]:
    """Return how this request is answered, and under which key, if any, the answer is stored.

    An answer with a secret is stored for the calling key or account: another caller may lack the rights that the
    secret gives.
    """
    principal = request.principal
    if isinstance(principal, Operator):
        owner_id = principal.account.id if has_secret and principal.account is not None else _OPERATOR_ID
    else:
        owner_id = principal.key_id if has_secret else principal.partner_id or principal.program_id
    return answered_once(request, owner_id, render, has_secret=has_secret)


def partner_in(request: Request, text: str) -> uuid.UUID:
    """Return the partner that a request names by the text of its id."""
    # A malformed id matches nothing.
    return request.tenant(id_in(text) or NOBODY)


def id_or_none_such(text: str | None) -> uuid.UUID | None:
    """Return the id that a text states; a malformed one matches nothing."""
    return None if text is None else id_in(text) or FIRST_ID


def given(kind: type[D], body: RequestModel, words: Mapping[str, str], **others: object) -> Given[D]:
    """Return the members of a D that a request gives under the names in `words`, and others derived from it."""
    said = {type(body).model_fields[name].alias or name: getattr(body, name) for name in body.model_fields_set}
    names = {each.name: words.get(each.name, each.name) for each in fields(kind)}
    members: dict[str, Any] = {ours: said[theirs] for ours, theirs in names.items() if theirs in said} | others
    return Given(kind(**members), frozenset(members))


@contextmanager
def naming(words: Mapping[str, str], of_each: Mapping[str, str] | None = None) -> Iterator[None]:
    """Refuse in the words of this request: field names by ours, and its word for a partner.

    `of_each` are the words for each of several codes inside it.
    """
    try:
        yield
    except CodesError as error:
        problem = translate(error, of_each if of_each and error.place is not None else words)
        if problem is None or not problem.errors:
            raise
        raise problem from error
