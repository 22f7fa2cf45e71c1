"""Who asks, and whether the route lets them: keys from either header, the operator's token, scopes."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web

from shared.api_keys import Credential
from shared.web.problems import (
    BEARER_CHALLENGE,
    PARTNER_KEY_CHALLENGE,
    PARTNER_KEY_HEADER,
    invalid_api_key,
    live_key_required,
    operator_only,
    scope_missing,
)
from shared.web.request import OPERATOR, Principal
from shared.web.routes import Route

Authenticate = Callable[[str], Awaitable[Credential | None]]

_VALIDATE: Final = "validate"


class Gate:
    """Lets requests of one route in, or raises the 401 or 403. Refusals say nothing about which part was wrong."""

    def __init__(self, route: Route, authenticate: Authenticate, operator_token: str | None) -> None:
        self._authenticate = authenticate
        self._security = route.security
        self._challenge = _challenge(route)
        self._scopes = frozenset(route.scopes)
        self._named_scopes = route.scopes
        self._is_live_only = route.live_only
        takes_operator = route.security == "operator" or route.operator_allowed
        self._operator_token = operator_token.encode() if operator_token and takes_operator else None

    async def admit(self, http: web.Request) -> Principal:
        """Return who asks."""
        text = self._presented(http)
        if self._is_operator(text):
            return OPERATOR
        credential = await self._authenticate(text)
        if credential is None:
            raise invalid_api_key(self._challenge)
        if self._security == "operator":
            raise operator_only()
        self._check_scope(credential)
        return credential

    def _presented(self, http: web.Request) -> str:
        headers = http.headers
        key = bearer = None
        if self._security in ("partner_key", "either"):
            key = headers.get(PARTNER_KEY_HEADER)
        if self._security != "partner_key" and (authorization := headers.get(hdrs.AUTHORIZATION)):
            scheme, _, token = authorization.partition(" ")
            bearer = token.strip() if scheme.lower() == "bearer" else None
        # Two different keys in one request: it is unclear which is meant.
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


def _challenge(route: Route) -> str:
    """Return what the 401 names: every header in which the route takes a key."""
    if route.security == "partner_key" and not route.operator_allowed:
        return PARTNER_KEY_CHALLENGE
    return f"{BEARER_CHALLENGE}, {PARTNER_KEY_CHALLENGE}" if route.security == "either" else BEARER_CHALLENGE
