"""`/v1/redemption-path`: whether a change that redeems would reach the redemption service with this key."""

from typing import Final

from aiohttp import web

from services.codes.api.context import use_cases
from services.codes.api.management.redeeming import authorization
from services.codes.domain.orders import RedemptionPath
from shared.web import Data, Request, ResponseModel, Route, data_response

_MEANINGS: Final[dict[RedemptionPath, str]] = {
    "ok": "The redemption service takes this key.",
    "scope_missing": "The redemption service knows this key, which lacks the scope checkout.",
    "unreachable": "The redemption service cannot be reached from here, or does not answer in time.",
    "unavailable": "The redemption service is temporarily out of order.",
    "unknown_key": "The redemption service found there belongs to another installation: it does not know this key.",
    "misdirected": "Another service answers at the address of the redemption service.",
}


class RedemptionPathData(ResponseModel):
    """Whether the redemption service accepts the key, as seen from this service."""

    state: RedemptionPath
    message: str


async def show(request: Request) -> web.StreamResponse:
    """Check the connection to the redemption service; nothing changes."""
    state = await use_cases(request).redeem_code.probe(authorization(request))
    return data_response(RedemptionPathData(state=state, message=_MEANINGS[state]))


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/redemption-path",
        handler=show,
        summary="Check the connection from this service to the redemption service, with this key",
        description="A change that redeems (`redeem`, `transaction_key`) takes that way. Trying it changes nothing. "
        "Accounts cannot take it, nor try it (`api_key_required`): their tokens are for one service only.",
        tag="redeeming",
        security="bearer",
        scope=("manage", "checkout"),
        family="management",
        responses={200: Data[RedemptionPathData]},
        examples={200: {"data": {"state": "ok", "message": _MEANINGS["ok"]}}},
    ),
)
