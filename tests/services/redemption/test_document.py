"""The API document says what the router serves."""

from tests.services.redemption.conftest import Shop
from tests.shared.web.openapi_contract import check_document


async def test_router_and_document_agree(shop: Shop) -> None:
    document = check_document(shop.app)
    redeem = document["paths"]["/v1/redemptions"]["post"]
    assert redeem["security"] == [{"bearer": []}, {"account": []}]
    assert {"200", "201", "409", "422"} <= set(redeem["responses"])
