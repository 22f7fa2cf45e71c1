"""What every handler needs from a request: the use cases, the owner of the API key, one answer per Idempotency-Key."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiohttp import hdrs, web

from services.webhooks.domain.endpoints import Endpoint, Owner
from services.webhooks.domain.retention import ShownSettings
from services.webhooks.usecases.change_endpoint import ArchiveEndpoint, ChangeEndpoint
from services.webhooks.usecases.create_endpoint import CreateEndpoint
from services.webhooks.usecases.debug_signature import DebugSignature
from services.webhooks.usecases.handle_dead_letters import HandleDeadLetters
from services.webhooks.usecases.handle_delivery import HandleDelivery
from services.webhooks.usecases.handle_messages import HandleMessages
from services.webhooks.usecases.listen import Listen
from services.webhooks.usecases.manage_keys import ManageKeys
from services.webhooks.usecases.manage_replays import ManageReplays
from services.webhooks.usecases.publish_message import Publishing
from services.webhooks.usecases.read_deliveries import ReadDeliveries
from services.webhooks.usecases.read_endpoints import ReadEndpoints
from services.webhooks.usecases.read_stats import ReadStats
from services.webhooks.usecases.resend_message import ResendMessage
from services.webhooks.usecases.send_test import SendTest
from shared.idempotency import Once
from shared.web import HTTPProblem, Request, answered_once

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the handlers call."""

    create_endpoint: CreateEndpoint
    change_endpoint: ChangeEndpoint
    archive_endpoint: ArchiveEndpoint
    read_endpoints: ReadEndpoints
    read_stats: ReadStats
    keys: ManageKeys
    send_test: SendTest
    read_deliveries: ReadDeliveries
    handle_delivery: HandleDelivery
    dead_letters: HandleDeadLetters
    replays: ManageReplays
    messages: HandleMessages
    resend_message: ResendMessage
    publish_message: Publishing
    debug_signature: DebugSignature
    listen: Listen
    shown_settings: ShownSettings


# What all routes behind a key have in common.
COMMON: Final[dict[str, Any]] = {"security": "either", "family": "management", "scope": "webhooks"}
_TAG: Final = re.compile(r'"([0-9]{1,9})"')
USE_CASES: Final = web.AppKey("use_cases", UseCases)


def use_cases(request: Request) -> UseCases:
    """Return the service's use cases."""
    return request.dependency(USE_CASES)


def owner(request: Request) -> Owner:
    """Return the owner whose endpoints the API key may see."""
    credential = request.credential
    return Owner(credential.program_id, credential.partner_id, credential.key_id)


def partner_in(request: Request, partner_id: uuid.UUID | None) -> uuid.UUID | None:
    """Return the tenant that a partner id refers to in the key's mode, test or live."""
    return None if partner_id is None else request.tenant(partner_id)


def versions(request: Request) -> frozenset[int] | None:
    """Return the endpoint versions that If-Match names (RFC 9110, 13.1.1); None if any version will do."""
    text = ",".join(request.http.headers.getall(hdrs.IF_MATCH, ()))
    tags = [tag.strip() for tag in text.split(",")]
    if tags == [""] or "*" in tags:
        return None
    return frozenset(int(match[1]) for tag in tags if (match := _TAG.fullmatch(tag)))


def etag(endpoint: Endpoint) -> dict[str, str]:
    """Return the header that names the version of an endpoint."""
    return {hdrs.ETAG: f'"{endpoint.version}"'}


def refuse_partners(request: Request) -> None:
    """Refuse a partner's key where only the program may act."""
    if request.credential.partner_id is not None:
        raise HTTPProblem(403, "scope_missing", "This needs a program's API key.")


def once(request: Request, render: Callable[[T], web.Response], *, has_secret: bool = False) -> Once[T]:
    """Return how this request is answered, and under which key, if any, the answer is kept.

    An answer with a secret, which is shown once, is kept for the API key or the account that asked.
    """
    asking = owner(request)
    owner_id = request.credential.key_id if has_secret else asking.partner_id or asking.program_id
    return answered_once(request, owner_id, render, has_secret=has_secret)
