"""Asks the redemption service, the only one that decides whether a code may be used, with the key of who asked us."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import orjson

from services.codes.domain.errors import CheckoutScopeMissing
from services.codes.domain.orders import Applied, NotApplied, RedeemOutcome
from shared.boundary import refuse_inside_transaction
from shared.faults import TransientFault
from shared.trace import TRACEPARENT

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5, connect=2)


class RedemptionUnavailable(TransientFault):
    """The redemption service gave no answer in time; asking again is safe, since the order is the key."""


class RedemptionClient:
    """One session to the redemption service, opened by `connected`."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._url = f"{base_url.rstrip('/')}/v1/redemptions"

    @classmethod
    @asynccontextmanager
    async def connected(cls, base_url: str) -> "AsyncIterator[RedemptionClient]":
        """Open the session for as long as the block lasts; connecting waits for the first request."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield cls(session, base_url)

    async def redeem(
        self, authorization: str, order_ref: str, code: str, traceparent: str | None = None
    ) -> RedeemOutcome:
        """Redeem a code for an order; raises CheckoutScopeMissing or RedemptionUnavailable."""
        refuse_inside_transaction("A request to the redemption service")
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        if traceparent is not None:
            headers[TRACEPARENT] = traceparent
        body = orjson.dumps({"order_ref": order_ref, "codes": [code]})
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                answer = orjson.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise RedemptionUnavailable(f"No answer from the redemption service: {type(error).__name__}") from error
        return _outcome(response.status, answer)


def _outcome(status: int, answer: Any) -> RedeemOutcome:
    if not isinstance(answer, dict):
        raise RedemptionUnavailable("The redemption service answered with something that is no object.")
    if status in (200, 201):
        first = answer["data"]["redemptions"][0]
        return Applied(first["id"], first["occurred_at"], is_repeat=status == 200)
    if status in (409, 422):
        return NotApplied(str(answer.get("code", "refused")), str(answer.get("detail", "")))
    if status == 403:
        raise CheckoutScopeMissing
    raise RedemptionUnavailable(f"The redemption service answered {status}.")
