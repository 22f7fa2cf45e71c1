"""The API document says what the router serves."""

from tests.services.codes.conftest import Owner, Service
from tests.shared.web.openapi_contract import check_document


async def test_router_and_document_agree(service: Service) -> None:
    document = check_document(service.app)
    generate = document["paths"]["/api/partners/codes/generate"]["post"]
    assert generate["security"] == [{"partnerKey": []}, {"account": []}]
    assert {"200", "401", "403", "429"} <= set(generate["responses"])


async def test_a_path_written_out_allows_what_its_document_says(service: Service, partner: Owner) -> None:
    """A template takes the same path only where a code is called like it."""
    for method in ("DELETE", "GET"):
        refused = await service.send(method, "/api/partners/codes/generate", partner.key)
        assert (refused.status, refused.headers["Allow"]) == (405, "POST")


async def test_what_has_no_default_offers_none(service: Service) -> None:
    """An empty string as the default of a required setting would mislead generators of clients."""
    schemas = check_document(service.app)["components"]["schemas"]
    assert "default" not in schemas["ProgramChange"]["properties"]["name"]
    assert schemas["ProgramCreation"]["required"] == ["name"]
