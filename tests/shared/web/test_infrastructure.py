"""Health, metrics, the API document and its page."""

import re

import pytest
from aiohttp import web
from openapi_pydantic import OpenAPI
from yarl import URL

from shared.web import LOOP_LAG, READINESS
from tests.shared.web.conftest import Client, Parts
from tests.shared.web.openapi_contract import check_document

PROGRAM = {"Authorization": "Bearer program"}


async def test_ready_names_the_parts_and_is_not_ready_when_one_is_not(client: Client, parts: Parts) -> None:
    answer = await client.get("/readyz")
    assert (answer.status, await answer.json()) == (200, {"status": "ok", "parts": {"database": "ok"}, "details": {}})
    parts.states["broker"] = "topology missing"
    answer = await client.get("/readyz")
    assert (answer.status, (await answer.json())["parts"]["broker"]) == (503, "topology missing")


async def test_a_detail_is_shown_and_leaves_the_service_ready(client: Client, parts: Parts) -> None:
    parts.details["purge_jobs"] = "failing since 2026-01-01T00:00:00.000Z: KeyError"
    answer = await client.get("/readyz")
    assert (answer.status, (await answer.json())["details"]) == (200, parts.details)


async def test_process_that_is_stopping_is_not_ready(app: web.Application, client: Client) -> None:
    app[READINESS].is_draining = True
    assert (await client.get("/readyz")).status == 503


async def test_alive_means_that_the_loop_keeps_up(app: web.Application, client: Client) -> None:
    assert (await client.get("/livez")).status == 200
    app[LOOP_LAG].note(1.5)
    assert (await client.get("/livez")).status == 503
    for _ in range(20):
        app[LOOP_LAG].note(0.0)
    assert (await client.get("/livez")).status == 200


async def test_metrics_count_by_template_not_by_path(client: Client) -> None:
    await client.get("/v1/things/1", headers=PROGRAM)
    text = await (await client.get("/metrics")).text()
    assert 'mintwire_http_requests_total{method="GET",route="/v1/things/{id}",status="200"}' in text


async def test_document_is_valid_and_says_what_the_router_serves(app: web.Application, client: Client) -> None:
    document = check_document(app)
    OpenAPI.model_validate(document)
    assert await (await client.get("/openapi.json")).json() == document


async def test_document_states_bounds_security_and_refusals(app: web.Application) -> None:
    document = check_document(app)
    fields = document["components"]["schemas"]["MakeThing"]["properties"]
    assert (fields["count"]["type"], fields["count"]["minimum"], fields["count"]["maximum"]) == ("integer", 1, 100)
    number = fields["amount"]["anyOf"][0]
    assert (number["type"], number["minimum"], number["maximum"]) == ("number", 0, 100)
    assert not re.search(r'"(ge|le|gt|lt|decimal_places)":', str(document).replace("'", '"'))
    mint = document["paths"]["/api/partners/codes/generate"]["post"]
    assert mint["security"] == [{"partnerKey": []}, {"account": []}]
    assert "Idempotency-Key" in {parameter["name"] for parameter in mint["parameters"]}
    assert mint["responses"]["429"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/PartnerError"
    }
    listing = document["paths"]["/v1/things"]["get"]
    limit = next(p for p in listing["parameters"] if p["name"] == "limit")
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"], limit["schema"]["default"]) == (1, 250, 50)


@pytest.mark.parametrize("address", ["/docs", "/docs/codes"])
async def test_page_runs_nothing_inline_and_everything_it_names_is_there(client: Client, address: str) -> None:
    answer = await client.get(address)
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "default-src 'none'" in policy
    page = await answer.text()
    assert not re.search(r"<script>|\son\w+=", page)
    named = re.findall(r'(?:src|href|data-document)="((?!data:)[^"]+)"', page)
    assert len(named) == 4
    for path in named:
        asset = await client.get(URL(address).join(URL(path)))
        assert asset.status == 200, path
        assert asset.headers["Cache-Control"] in ("no-cache", "public, max-age=31536000, immutable")
        assert asset.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_document_has_an_address_with_the_service_s_name(client: Client) -> None:
    """Behind one host the short ones are those of several services."""
    documents = [await (await client.get(path)).read() for path in ("/openapi.json", "/openapi/codes.json")]
    assert documents[0] == documents[1]
    assert (await client.get("/openapi/webhooks.json")).status == 404
