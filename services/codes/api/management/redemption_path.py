"""`/v1/redemption-path`: whether a change that redeems would reach the redemption service with this key."""

from typing import Final

from aiohttp import web

from services.codes.api.exchange import use_cases
from services.codes.api.management.redeeming import authorization
from services.codes.domain.orders import RedemptionPath
from shared.web import Data, Request, ResponseModel, Route, data_response

_MEANINGS: Final[dict[RedemptionPath, str]] = {
    "ok": "The redemption service takes this key.",
    "scope_missing": "The redemption service knows this key, which lacks the scope checkout.",
    "unreachable": "The redemption service cannot be reached from here, or does not answer in time.",
    "unavailable": "The redemption service is out of order for the moment.",
    "unknown_key": "What answers as the redemption service does not know this key: it is another installation's.",
    "misdirected": "What answers at the address of the redemption service is not that service.",
}


class RedemptionPathData(ResponseModel):
    """How the redemption service takes the key, as this service finds it."""

    state: RedemptionPath
    message: str


async def show(request: Request) -> web.StreamResponse:
    """Try the way to the redemption service; nothing changes."""
    state = await use_cases(request).redeem_code.probe(authorization(request))
    return data_response(RedemptionPathData(state=state, message=_MEANINGS[state]))


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/redemption-path",
        handler=show,
        summary="Try the way from this service to the redemption service, with this key",
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
