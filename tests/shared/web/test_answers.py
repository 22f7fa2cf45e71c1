"""What comes back: the families' shapes, headers, request ids, streams, and what happens when a handler fails."""

import asyncio
import uuid
from datetime import UTC, datetime

import aiohttp
import orjson
import pytest
import structlog
from multidict import CIMultiDict
from pydantic import Field
from structlog.testing import capture_logs

from shared.idempotency import Answer
from shared.web import (
    Moment,
    ResponseModel,
    TenantId,
    data_answer,
    data_response,
    decode_cursor,
    encode_cursor,
)
from tests.shared.web.conftest import Client
from tests.shared.web.routes import Kept

PROGRAM = {"Authorization": "Bearer program"}
PARTNER = {"X-Partner-Key": "partner"}


async def test_management_refusals_are_problem_json(client: Client) -> None:
    answer = await client.get("/v1/things/2", headers=PROGRAM | {"X-Request-Id": "given-by-me"})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert await answer.json() == {
        "type": "urn:mintwire:problem:not_found",
        "title": "Not found",
        "detail": "There is no id with id 2.",
        "code": "not_found",
        "request_id": "given-by-me",
        "message": "There is no id with id 2.",
    }


async def test_partner_refusals_keep_the_seeds_shape(client: Client) -> None:
    quota = await client.post("/api/partners/raise/quota", headers=PARTNER)
    assert (quota.status, await quota.json()) == (
        403,
        {"ok": False, "error": "No codes remaining", "error_code": "quota_exhausted"},
    )
    stock = await client.post("/api/partners/raise/stock", headers=PARTNER)
    assert await stock.json() == {"ok": False, "error": "There is nothing left.", "error_code": "out_of_stock"}


async def test_unknown_exception_is_opaque_outside_and_logged_once_inside(client: Client) -> None:
    with capture_logs() as logs:
        answer = await client.post("/v1/raise/crash", headers=PROGRAM)
    assert answer.status == 500
    assert "secret detail" not in await answer.text()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["http_handler_failed"]


async def test_own_errors_pass_through_the_services_table(client: Client) -> None:
    answer = await client.post("/v1/raise/stock", headers=PROGRAM)
    assert (answer.status, (await answer.json())["code"]) == (409, "out_of_stock")


async def test_rate_limit_says_when_to_come_back(client: Client) -> None:
    answer = await client.post("/v1/raise/limit", headers=PROGRAM)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "42")
    assert answer.headers["RateLimit"] == '"default";r=0;t=42'


async def test_idempotency_refusals_and_replays(client: Client) -> None:
    reused = await client.post("/v1/raise/reused", headers=PROGRAM)
    assert (reused.status, (await reused.json())["code"]) == (422, "idempotency_key_reused")
    replay = await client.post("/v1/replay", headers=PROGRAM)
    assert (replay.status, replay.headers["Idempotent-Replayed"]) == (201, "true")
    assert await replay.read() == b'{"data":1}'


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/things/%ff", "not_found"),
        ("/nowhere", "not_found"),
        ("/v1/things/%00", "not_found"),
        ("/v1/things/", "not_found"),
        ("/nowhere%0A", "not_found"),
        ("/nowhere%0D%0Aa%0Ab/c", "not_found"),
    ],
)
async def test_paths_that_name_nothing_are_404(client: Client, path: str, code: str) -> None:
    answer = await client.get(path, headers=PROGRAM)
    assert (answer.status, (await answer.json())["code"]) == (404, code)


async def test_routers_refusals_speak_the_family_of_the_path(client: Client) -> None:
    partner = await client.get("/api/partners/nowhere")
    assert (partner.status, (await partner.json())["ok"]) == (404, False)
    query = await client.get("/api/v1/nowhere")
    assert query.headers["Content-Type"] == "application/problem+json"
    wrong_method = await client.delete("/v1/things")
    assert (wrong_method.status, wrong_method.headers["Allow"]) == (405, "GET, HEAD, POST")


async def test_every_answer_bears_the_security_headers_and_a_request_id(client: Client) -> None:
    for path in ("/v1/things/1", "/nowhere", "/livez"):
        answer = await client.get(path, headers=PROGRAM)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert len(answer.headers["X-Request-Id"]) == 24


@pytest.mark.parametrize("given", ["short", "a" * 65, "with space", "<script>alert(1)"])
async def test_request_ids_that_are_not_sane_are_replaced(client: Client, given: str) -> None:
    answer = await client.get("/v1/things/1", headers=PROGRAM | {"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] != given


async def test_one_log_line_per_request_names_the_template_and_never_the_key(client: Client) -> None:
    with capture_logs() as logs:
        await client.get("/v1/things/1", headers=PROGRAM)
    (line,) = [line for line in logs if line["event"] == "http_request"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/things/{id}", 200)
    assert "program" not in str(line)


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_the_trace_of_a_request_is_bound_to_its_lines_and_to_no_others(client: Client) -> None:
    """Requests of one connection must not inherit it from each other."""
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        await client.post("/v1/raise/crash", headers=PROGRAM | {"traceparent": TRACEPARENT})
        await client.post("/v1/raise/crash", headers=PROGRAM)
    traced = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert [(line["event"], line.get("trace_id")) for line in logs] == [
        ("http_handler_failed", traced),
        ("http_request", traced),
        ("http_handler_failed", None),
        ("http_request", None),
    ]


@pytest.mark.parametrize("sent", [[TRACEPARENT, TRACEPARENT], [TRACEPARENT.upper()], [""], ["00-x"]])
async def test_a_trace_that_is_not_valid_or_comes_twice_is_ignored(client: Client, sent: list[str]) -> None:
    headers = CIMultiDict([*PROGRAM.items(), *(("traceparent", value) for value in sent)])
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        answer = await client.get("/v1/things/1", headers=headers)
    assert answer.status == 200
    assert [line.get("trace_id") for line in logs] == [None]


async def test_head_is_answered_like_get_without_a_body(client: Client) -> None:
    answer = await client.head("/v1/things/1", headers=PROGRAM)
    assert (answer.status, await answer.read()) == (200, b"")


async def test_client_that_goes_away_leaves_no_half_done_work(client: Client, kept: Kept) -> None:
    """A handler between two writes must not be cancelled because its client hung up."""
    request = asyncio.create_task(client.post("/v1/hold", headers=PROGRAM))
    await asyncio.wait_for(kept.entered.wait(), 30)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    kept.release.set()
    await asyncio.wait_for(kept.finished.wait(), 30)


async def test_stream_that_breaks_is_not_taken_for_whole(client: Client) -> None:
    whole = await client.get("/v1/stream/whole", headers=PROGRAM)
    assert (await whole.read(), whole.headers["X-Content-Type-Options"]) == (b"a,b\n", "nosniff")
    with pytest.raises(aiohttp.ClientError):
        await (await client.get("/v1/stream/broken", headers=PROGRAM)).read()


def test_cursor_gives_back_what_was_put_in() -> None:
    assert decode_cursor(encode_cursor("a/ü", 7), str, int) == ("a/ü", 7)


class _Part(ResponseModel):
    made_at: Moment
    owner_id: TenantId
    by_name: str = Field(alias="byName")


class _Whole(ResponseModel):
    text: str
    amount: float | None
    parts: list[_Part]


def test_a_model_is_written_alike_alone_among_others_and_to_be_kept() -> None:
    """A model that is the whole answer is written by a way of its own, which must differ in nothing."""
    part = _Part(made_at=datetime(2026, 3, 1, 12, tzinfo=UTC), owner_id=uuid.UUID(int=7), byName='Zoë \u2028 "x"')
    whole = _Whole(text="é\t\x1f", amount=0.1, parts=[part])
    alone, listed = data_response(whole, 201).body, data_response([whole]).body
    assert isinstance(alone, bytes)
    assert alone == orjson.dumps({"data": whole.model_dump(mode="json", by_alias=True)})
    assert listed == b'{"data":[' + alone[len(b'{"data":') : -1] + b"]}"
    assert data_answer(whole, 201) == Answer(201, alone)
