"""Nothing that stands in a request brings a 500, and nothing of a request that cannot be read is repeated or logged.

Raw sockets against each service as it runs: no client would send these.
"""

import json
import os
import re
import socket
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.ids import new_id
from tests.contracts.seeding import seed
from tests.databases import SERVICES, Database
from tests.running import RunningService, running_services

KEY = "mw_sk_AKeyThatMustNotBeRepeated"
LONG = KEY * 1200

MALFORMED = [
    f"GET / HTTP/1.1\r\nHost: a\r\nX-Partner-Key: {KEY}\r\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: a\r\nX-Partner-Key: {KEY}\0\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: a\r\nX-Partner-Key: {KEY}\nX-Other: a\r\n\r\n",
    f"GET / HTTP/1.1\nHost: a\nX-Partner-Key: {KEY}\n\n",
    f"GET / HTTP/1.1\r\nHost: a\r\nX-Partner-Key: a\r\n {KEY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: a\r\n {KEY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: a\r\nX-Partner-Key : {KEY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: a\r\n{KEY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: a\r\nX-Partner-Key: {LONG}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: a\r\n{LONG}: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n" + "".join(f"X-{n}: {KEY}\r\n" for n in range(100)) + "\r\n",
    f"{KEY}\r\n\r\n",
    f"GET {KEY}\r\n\r\n",
    f"GET /{LONG} HTTP/1.1\r\nHost: a\r\n\r\n",
    f"GET /\xff{KEY} HTTP/1.1\r\nHost: a\r\n\r\n",
    f"GET http://[{KEY}/ HTTP/1.1\r\nHost: a\r\n\r\n",
    f"GET /{KEY} HTTP/9.9\r\nHost: a\r\n\r\n",
    f"G\0T /{KEY} HTTP/1.1\r\nHost: a\r\n\r\n",
    f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {KEY}\r\n\r\n",
    f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {KEY}\r\n\r\n",
    f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n",
    f"\x16\x03\x01\x02\x00{KEY}",
]

# What no route can have is no different from what none has.
PATHLESS = (f"CONNECT {KEY}", "OPTIONS *", f"GET http://{KEY}", "GET //", f"GET /{'/' * 8000}", f"GET /{'a/' * 4000}")

HEADERS = (
    *("Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Type", "Cookie"),
    *("Expect", "Forwarded", "Host", "Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range"),
    *("Origin", "Range", "TE", "Upgrade", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"),
    *("X-Partner-Key", "X-Request-Id", "traceparent"),
)
VALUES = (
    *(b"", b",", b";", b"*", b"0", b"-1", b'"', b'"1', b'"1", "2"', b'W/"1"'),
    *(b"\xff", b"\xed\xa0\x80", b"\xc3\xa9", b"%00", b"a b", b"@", b"a@b", b"[::1", b"[::1]:x", b"a:99999"),
    *(b"for=", b"10.0.0.1, ::", b"bytes=0-", b"bytes=9-1", b"bytes=a", b"100-continue", b"websocket", b"close, close"),
    *(b"application/json; charset=utf-16", b"application/json; charset=\xff", b"multipart/form-data"),
    *(b"text/plain;a*0*=x;a*0=y", b"a/b;a*" + b"9" * 5000 + b"=x", b";" * 8000, b"9" * 8000),
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", SERVICES)
async def test_no_request_is_too_much(service: str, database: Database, clean_broker: dict[str, str]) -> None:
    names = dict.fromkeys(("codes", service))
    as_json = {f"{name.upper()}_LOG_FORMAT": "json" for name in names}
    async with running_services(database, clean_broker, names=names, settings=as_json) as running:
        values = await seed(running)
        found = _Service(running[service], values)
        document = await _document(found.running.url)
        found.is_told_of_malformed_heads()
        found.knows_no_such_path()
        found.takes_any_header()
        found.takes_any_cursor(document)
        log = found.log()
        assert KEY not in log
        assert "Traceback" not in log
        assert not {"http_handler_failed", "http_server_failed", "library_log"} & {
            line["event"] for line in _lines(log)
        }


async def _document(url: str) -> Mapping[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/openapi.json") as response:
        document: Mapping[str, Any] = await response.json()
        return document


def _lines(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


class _Service:
    """One service, spoken to in bytes."""

    def __init__(self, running: RunningService, values: Mapping[str, str]) -> None:
        self.running = running
        self._values = values

    def log(self) -> str:
        size = os.fstat(self.running.log.fileno()).st_size
        return os.pread(self.running.log.fileno(), size, 0).decode()

    def send(self, raw: bytes) -> bytes:
        """Send bytes and return the answer; the connection ends with it."""
        with socket.create_connection(("127.0.0.1", self.running.port), timeout=20) as connection:
            connection.sendall(raw)
            answer = b""
            try:
                while received := connection.recv(65536):
                    answer += received
            except TimeoutError:
                raise AssertionError(f"{raw[:200]!r} left the connection open after {answer[:200]!r}") from None
        return answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")

    def status(self, raw: bytes) -> int:
        found = re.match(rb"HTTP/1\.[01] (\d{3}) ", self.send(raw))
        assert found, f"no answer to {raw[:200]!r}"
        return int(found[1])

    def is_told_of_malformed_heads(self) -> None:
        for head in MALFORMED:
            answer = self.send(head.encode("latin-1"))
            assert answer[8:12] == b" 400", (head[:80], answer)
            assert KEY.encode() not in answer
            problem = json.loads(answer.partition(b"\r\n\r\n")[2])
            assert problem.get("error_code", problem.get("code")) == "malformed_request"
        told = [line for line in _lines(self.log()) if line["event"] == "http_request_malformed"]
        assert len(told) == len(MALFORMED)
        assert {line["level"] for line in told} == {"info"}
        assert set().union(*told) == {"event", "level", "reason", "request_id", "service", "timestamp"}

    def knows_no_such_path(self) -> None:
        for line in PATHLESS:
            answer = self.send(f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            assert answer[8:12] == b" 404", (line[:80], answer)
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "not_found"

    def takes_any_header(self) -> None:
        for line, body in self._requests():
            for name in HEADERS:
                for value in VALUES:
                    raw = self._request(line, name, value, body)
                    assert self.status(raw) < 500, raw[:300]

    def _requests(self) -> Iterator[tuple[bytes, bytes]]:
        yield b"GET /docs/5.35.0/swagger-ui.css", b""
        yield from {
            "codes": [
                (b"GET /v1/coupons?limit=1", b""),
                (b"GET /api/v1/promotional-codes?limit=1", b""),
                (b"GET /api/partners/codes?limit=1", b""),
                (b"POST /v1/coupons", b"{}"),
            ],
            "redemption": [(b"GET /v1/redemptions?limit=1", b""), (b"POST /v1/validations", b'{"codes":["A"]}')],
            "webhooks": [
                (b"GET /v1/webhooks/endpoints?limit=1", b""),
                (b"PATCH /v1/webhooks/endpoints/%b" % self._values["ENDPOINT_ID"].encode(), b"{}"),
            ],
        }[self.running.name]

    def _request(self, line: bytes, name: str, value: bytes, body: bytes) -> bytes:
        key = "PARTNER_KEY" if b"/partners/" in line or b"PATCH" in line else "PROGRAM_KEY"
        headers = {
            "Host": b"a",
            "Connection": b"close",
            "Authorization": b"Bearer " + self._values[key].encode(),
            "Content-Type": b"application/json",
        }
        if b"/partners/" in line:
            headers["X-Partner-Key"] = headers.pop("Authorization").removeprefix(b"Bearer ")
        headers[name] = value
        head = b"".join(b"%b: %b\r\n" % (each.encode(), text) for each, text in headers.items())
        # Which ends the connection by itself.
        version = b"HTTP/1.0" if name == "Connection" else b"HTTP/1.1"
        return b"%b %b\r\n%bContent-Length: %d\r\n\r\n%b" % (line, version, head, len(body), body)

    def takes_any_cursor(self, document: Mapping[str, Any]) -> None:
        lists = list(self._lists(document))
        assert lists, "the service has no list"

        @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(cursors)
        def check(cursor: str) -> None:
            for path, credential in lists:
                mark = "&" if "?" in path else "?"
                raw = (
                    f"GET {path}{mark}cursor={cursor} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{credential}\r\n\r\n"
                )
                assert self.status(raw.encode()) < 500, raw

        check()

    def _lists(self, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield each list of the API document that goes on by cursor, with the credential that opens it."""
        for path, item in document["paths"].items():
            names = {each["name"] for each in item.get("get", {}).get("parameters", ()) if each["in"] == "query"}
            if "cursor" not in names:
                continue
            made_by = f"?made_by={self._values['PROGRAM_KEY_ID']}" if "made_by" in names else ""
            filled = (
                re.sub(r"\{(\w+)\}", lambda found: self._values.get(found[1].upper(), str(new_id())), path) + made_by
            )
            credentials = (
                f"Authorization: Bearer {self._values['PROGRAM_KEY']}",
                f"Authorization: Bearer {self._values['OPERATOR_TOKEN']}",
                f"X-Partner-Key: {self._values['PARTNER_KEY']}",
            )
            plain = "GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n\r\n"
            statuses = {each: self.status(plain.format(filled, each).encode()) for each in credentials}
            opened = [each for each, status in statuses.items() if status in {200, 404}]
            assert opened, (path, statuses)
            yield filled, opened[0]


def _encoded(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


_TIMES = (
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
    *("2026-03-18T00:00:00", "2026-03-18T24:00:00Z", "2026-03-18T00:00:00+23:59:59.999999", "2026-W01-1T00:00:00Z"),
)
_parts = st.one_of(
    st.sampled_from(_TIMES),
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.uuids().map(str),
    st.sampled_from(["{00000000-0000-0000-0000-000000000000}", "urn:uuid:" + "0" * 32, "0" * 32, "\x00", "é", ""]),
    st.integers(),
    st.sampled_from([2**63, -(2**63) - 1, 1e308, None, True, [], {}, "\ud800"]),
    st.text(max_size=20),
)
cursors = st.one_of(
    st.lists(_parts, max_size=3).map(_encoded),
    st.tuples(st.sampled_from(_TIMES), st.uuids().map(str)).map(list).map(_encoded),
    st.recursive(_parts, lambda inner: st.lists(inner, max_size=3)).map(_encoded),
    st.just(_encoded([]) * 300),
    st.binary(max_size=60).map(lambda raw: urlsafe_b64encode(raw).decode()).map(quote),
    st.text(max_size=30).map(lambda text: quote(text, safe="")),
    st.text("%0fFcgz=&;+-_", max_size=20),
)
