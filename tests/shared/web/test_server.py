"""Below the application: what cannot be read, or fails before it reaches a route, has an answer that tells nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.process import HTTPServer, serve_http

KEY = "mw_sk_AKeyThatMustNotBeRepeated"


@pytest.fixture
async def server(app: web.Application) -> AsyncIterator[HTTPServer]:
    async with serve_http(app, "127.0.0.1", 0) as made:
        yield made


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    """What we log; the libraries must not log anything."""
    with capture_logs() as lines:
        yield lines
    assert not caplog.records


async def sent(server: HTTPServer, *parts: bytes) -> bytes:
    """Send one part after the other, each once something came back, and return all that came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answer = b""
    for part in parts:
        writer.write(part)
        answer += await asyncio.wait_for(reader.read(65536), 10)
    while received := await asyncio.wait_for(reader.read(65536), 10):
        answer += received
    writer.close()
    return answer


def malformed() -> float:
    labels = {"method": "UNKNOWN", "route": "malformed", "status": "400"}
    return REGISTRY.get_sample_value("mintwire_http_requests_total", labels) or 0


async def test_a_head_that_cannot_be_read_is_counted_and_leaves_one_line(server: HTTPServer, logs: list[Any]) -> None:
    before = malformed()
    answer = await sent(server, f"GET / HTTP/1.1\r\nHost: a\r\nX-Partner-Key: {KEY}\r\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert KEY.encode() not in answer
    assert malformed() == before + 1
    [line] = logs
    assert line == {
        "event": "http_request_malformed",
        "log_level": "info",
        "reason": "BadHttpMessage",
        "request_id": json.loads(answer.partition(b"\r\n\r\n")[2])["request_id"],
    }


async def test_a_parser_that_fails_costs_its_connection_and_tells_nothing(
    server: HTTPServer, logs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object, data: bytes) -> None:
        raise ValueError(data.decode())

    with monkeypatch.context() as patched:
        patched.setattr("aiohttp.web_protocol.RequestHandler.data_received", fail)
        assert await sent(server, f"GET / HTTP/1.1\r\nX-Partner-Key: {KEY}\r\n\r\n".encode()) == b""
    [line] = logs
    assert (line["event"], line["reason"]) == ("http_request_malformed", "ValueError")
    assert KEY not in str(line)
    assert b" 200 " in await sent(server, b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


async def test_a_client_that_waits_to_be_told_may_send_its_body(server: HTTPServer) -> None:
    head = (
        b"POST /v1/things HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer program\r\n"
        b"Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 13\r\n\r\n"
    )
    answer = await sent(server, head, b'{"name": "a"}')
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 ")


async def test_what_else_a_client_expects_is_neither_met_nor_repeated(server: HTTPServer) -> None:
    head = f"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: {KEY}\r\n\r\n".encode()
    answer = await sent(server, head)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert KEY.encode() not in answer


async def test_what_fails_outside_of_every_route_is_an_opaque_error(logs: list[Any]) -> None:
    async def fail(_: web.Request) -> web.StreamResponse:
        raise RuntimeError("not for everybody")

    app = web.Application()
    app.router.add_get("/", fail)
    async with serve_http(app, "127.0.0.1", 0) as server:
        answer = await sent(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "internal_error"
    assert b"not for everybody" not in answer
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["http_server_failed"]
