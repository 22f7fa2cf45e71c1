"""Calls the redemption service, which alone decides whether a code may be used, with the caller's own key."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiohttp
import orjson

from services.codes.domain.errors import CheckoutScopeMissing, RedemptionMisdirected
from services.codes.domain.orders import Applied, NotApplied, OrderUse, RedeemOutcome, RedemptionPath, Uses
from shared.boundary import refuse_inside_transaction
from shared.faults import TransientFault
from shared.log import get_logger
from shared.trace import TRACEPARENT

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5, connect=2)
# How many of the latest uses are shown after a redemption.
_MOST_USES: Final = 250
_NO_ORDER: Final = "invalid_fields"
_PATHS: Final[dict[int, RedemptionPath]] = {401: "unknown_key", 403: "scope_missing"}


class RedemptionUnavailable(TransientFault):
    """The redemption service gave no answer in time; a retry is safe, since the order is the key."""


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
        """Redeem a code for an order; raises CheckoutScopeMissing, RedemptionMisdirected or RedemptionUnavailable."""
        refuse_inside_transaction("A request to the redemption service")
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        if traceparent is not None:
            headers[TRACEPARENT] = traceparent
        body = orjson.dumps({"order_ref": order_ref, "codes": [code]})
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RedemptionUnavailable(f"No answer from the redemption service: {type(error).__name__}") from error
        return _outcome(response.status, answer)

    async def uses(self, authorization: str, *, code_id: uuid.UUID | None = None, **asked: str) -> Uses | None:
        """Return the uses that match a filter of redemptions, `code` or `coupon_id`; None if there are none.

        With `code_id`, only those of that code: others may have had its string. Raises RedemptionMisdirected or
        RedemptionUnavailable.
        """
        listed = await self._get(authorization, self._url, {**asked, "limit": str(_MOST_USES)})
        with suppress(LookupError, TypeError):
            found = [each for each in listed["data"] if code_id is None or each["code_id"] == str(code_id)]
            if not found:
                return None
            last = await self._get(authorization, f"{self._url}/{found[0]['id']}", {})
            counted = [each for each in reversed(found) if each["is_counted"]]
            return Uses(
                last["data"]["code_id"],
                last["data"]["times_redeemed"],
                last["data"]["coupon_times_redeemed"],
                tuple(OrderUse(each["occurred_at"], each["order_ref"]) for each in counted),
                is_whole=listed["meta"]["next_cursor"] is None,
            )
        raise RedemptionMisdirected(is_key_unknown=False)

    async def _get(self, authorization: str, url: str, query: Mapping[str, str]) -> dict[str, Any]:
        refuse_inside_transaction("A request to the redemption service")
        headers = {"Authorization": authorization}
        try:
            async with self._session.get(url, params=query, headers=headers, allow_redirects=False) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RedemptionUnavailable(f"No answer from the redemption service: {type(error).__name__}") from error
        if _is_passing(response.status):
            raise RedemptionUnavailable(f"The redemption service answered {response.status}.")
        return _decoded(answer)

    async def probe(self, authorization: str) -> RedemptionPath:
        """Send an empty redemption, which is refused after the key is checked, and return the verdict on the key."""
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        try:
            async with self._session.post(self._url, data=b"{}", headers=headers, allow_redirects=False) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return "unreachable"
        if (found := _PATHS.get(response.status)) is not None:
            return found
        if _is_passing(response.status):
            return "unavailable"
        return "ok" if _decoded(answer).get("code") == _NO_ORDER else "misdirected"


def _outcome(status: int, raw: bytes) -> RedeemOutcome:
    if _is_passing(status):
        raise RedemptionUnavailable(f"The redemption service answered {status}.")
    if status == 403:
        raise CheckoutScopeMissing
    answer = _decoded(raw)
    with suppress(LookupError, TypeError):
        if status in (200, 201):
            first = answer["data"]["redemptions"][0]
            return Applied(first["id"], first["occurred_at"], is_repeat=status == 200)
        if status in (409, 422):
            return NotApplied(str(answer["code"]), str(answer["detail"]))
    # The answer of another service. Neither the client nor waiting can fix that.
    get_logger().error("redemption_misdirected", status=status)
    raise RedemptionMisdirected(is_key_unknown=status == 401)


def _is_passing(status: int) -> bool:
    return status == 429 or status >= 500


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(raw)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
