"""The caller, and whether the route admits it: keys from either header, the operator's token, accounts, scopes."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web

from shared.accounts import Account
from shared.api_keys import Credential
from shared.web.problems import (
    BEARER_CHALLENGE,
    PARTNER_KEY_CHALLENGE,
    PARTNER_KEY_HEADER,
    invalid_api_key,
    live_key_required,
    look_only,
    operator_only,
    scope_missing,
)
from shared.web.request import OPERATOR, Operator, Request
from shared.web.routes import Route

Authenticate = Callable[[str], Awaitable[Credential | None]]
# Takes an account token; an operator's account is returned unchanged.
Identify = Callable[[str], Awaitable[Credential | Account | None]]

_VALIDATE: Final = "validate"


class Gate:
    """Admits requests to one route, or raises the 401 or 403. A refusal does not say which part was wrong."""

    def __init__(
        self,
        route: Route,
        authenticate: Authenticate,
        operator_token: str | None,
        identify: Identify | None = None,
    ) -> None:
        self._authenticate = authenticate
        self._identify = identify
        self._security = route.security
        self._challenge = _challenge(route)
        self._scopes = frozenset(route.scopes)
        self._named_scopes = route.scopes
        self._is_live_only = route.live_only
        self._is_for_lookers = route.is_for_lookers
        self._takes_operator = route.security == "operator" or route.operator_allowed
        self._operator_token = operator_token.encode() if operator_token and self._takes_operator else None

    async def admit(self, request: Request) -> None:
        """Set the caller of a request, or raise; the log names a caller that is refused too.

        From here on, a request of an account has the id that its token states.
        """
        text = self._presented(request.http)
        if self._is_operator(text):
            request.presented = OPERATOR
            return
        credential = await self._authenticate(text)
        if credential is None:
            # It is read as a token only now, so that requests with a key pay nothing for it.
            await self._admit_account(request, text)
            return
        request.presented = credential
        if self._security == "operator":
            raise operator_only()
        self._check_scope(credential)

    async def _admit_account(self, request: Request, text: str) -> None:
        if self._identify is None or "." not in text or text != _bearer(request.http):
            raise invalid_api_key(self._challenge)
        if (found := await self._identify(text)) is None:
            raise invalid_api_key(self._challenge)
        account = found if isinstance(found, Account) else found.account
        if account is None:
            raise TypeError("a token names an account")
        request.adopt(account)
        request.presented = Operator(account) if isinstance(found, Account) else found
        if isinstance(found, Account):
            if not self._takes_operator:
                raise scope_missing(self._named_scopes)
        elif self._security == "operator":
            raise operator_only()
        else:
            self._check_scope(found)
        if not account.may_change and not self._is_for_lookers:
            raise look_only()

    def _presented(self, http: web.Request) -> str:
        headers = http.headers
        key = bearer = None
        if self._security in ("partner_key", "either"):
            key = headers.get(PARTNER_KEY_HEADER)
        if self._security != "partner_key":
            bearer = _bearer(http)
        elif key is None and (token := _bearer(http)) and "." in token:
            # The partner API takes keys only in their own header, but accounts as every API does.
            bearer = token
        # Two different keys in one request are ambiguous.
        if key and bearer and key != bearer:
            raise invalid_api_key(self._challenge)
        if not (text := key or bearer):
            raise invalid_api_key(self._challenge)
        return text

    def _is_operator(self, text: str) -> bool:
        token = self._operator_token
        return token is not None and hmac.compare_digest(text.encode("utf-8", "surrogateescape"), token)

    def _check_scope(self, credential: Credential) -> None:
        if self._scopes and self._scopes.isdisjoint(credential.scopes):
            raise scope_missing(self._named_scopes)
        # A publishable key is visible in web pages; a scope added by mistake must not widen it.
        if credential.kind == "publishable" and _VALIDATE not in self._scopes:
            raise scope_missing(self._named_scopes)
        if self._is_live_only and credential.is_test:
            raise live_key_required()


def _bearer(http: web.Request) -> str | None:
    authorization = http.headers.get(hdrs.AUTHORIZATION)
    if not authorization:
        return None
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _challenge(route: Route) -> str:
    """Return the challenge of the 401: every header in which the route takes a key."""
    if route.security == "partner_key" and not route.operator_allowed:
        return PARTNER_KEY_CHALLENGE
    return f"{BEARER_CHALLENGE}, {PARTNER_KEY_CHALLENGE}" if route.security == "either" else BEARER_CHALLENGE
