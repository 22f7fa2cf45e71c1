"""Twice the hostile input is at most twice the work, at every door.

The regular expressions alone are held to that by `tests/architecture/test_regex_rules.py`; here whole doors are.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock
from uuid import uuid4

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, CIMultiDictProxy

from mintwire.cli import listening
from services.codes.api.management.stats import StatsQuery as CodeStatsQuery
from services.codes.domain.code_files import checked_header, read_csv_line, read_ndjson_line, split_records
from services.codes.domain.partners import checked_email
from services.codes.domain.programs import checked_link_url
from services.redemption.api.redemptions import RedemptionBody
from services.redemption.api.stats import StatsQuery
from services.redemption.domain.purchase import Purchase
from services.redemption.domain.terms import CodeTerms
from services.redemption.store.terms import CountedTerms
from services.redemption.usecases.open_books import _moments
from services.redemption.usecases.purchases import wanted_codes
from services.webhooks.api.context import versions
from services.webhooks.api.endpoint_terms import EndpointCreation
from services.webhooks.api.listeners import NextQuestion
from services.webhooks.domain.debugging import Verifier, examine
from services.webhooks.domain.headers import check_headers
from services.webhooks.domain.schedule import retry_after
from services.webhooks.sender import client
from services.webhooks.sender.guard import BoundedAnswer
from services.webhooks.sender.names import NameService
from services.webhooks.sender.urls import URLChecker
from shared import api_keys
from shared.broker.tables import Headers, without
from shared.canonical import canonical_code
from shared.client_networks import client_network
from shared.clock import utc_now
from shared.events.checkout import CheckoutCompletedV1
from shared.events.envelope import decode_data, decode_envelope
from shared.strict_json import loads
from shared.trace import valid_traceparent
from shared.web import PageQuery, Request, decode_cursor
from shared.web.authentication import Gate
from shared.web.bodies import idempotency_key, media_type, parse_body, parse_query
from shared.web.endpoint import _traceparent
from shared.web.operator.history import HistoryQuery
from shared.web.operator.jobs import JobQuery
from shared.web.operator.queues import LetterQuery, LetterRequest, ReplayRequest
from shared.web.responses import wants_csv
from shared.web.routes import Route
from tests.accounts import DASHBOARD, signed
from tests.work import CountedBytes, add_steps, steps_of

SIZE = 120
# Twice, and something for what does not depend on the size.
FACTOR, CONSTANT = 2.2, 300
NOW = datetime(2026, 3, 18, tzinfo=UTC)
HEAD = b'{"codes":["' + b"[" * 40 + b'"],"x":'

EVENT: bytes = (
    b'{"specversion":"1.0","id":"1","source":"/shop","type":"checkout.completed","time":"2026-03-18T00:00:00Z",'
    b'"data":{"program_id":"00000000-0000-0000-0000-000000000000","order_ref":"1","codes":[%b"A"]}}'
)

_HEADER = {"alg": "EdDSA", "typ": "at+jwt", "kid": DASHBOARD.signer.key_id}


def _token(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Return a token with a good signature."""
    return signed(header, json.dumps(claims).encode())


BODIES: dict[str, Callable[[int], bytes]] = {
    "an open string of escaped quotes": lambda n: HEAD + b'"' + b'\\"' * n,
    "an open string of escapes": lambda n: HEAD + b'"' + b"\\\\" * n,
    "escapes outside of strings": lambda n: HEAD + b'\\"' * n,
    "one open string after the other": lambda n: HEAD + b'"a"\\' * n,
    "open arrays": lambda n: b"[" * n,
    "open objects": lambda n: b'{"a":' * n,
    "closed arrays": lambda n: b"[" + b"[]," * n + b"[]]",
    "the same member": lambda n: b"{" + b'"a":1,' * n + b'"a":1}',
    "unknown members": lambda n: b"{" + b",".join(b'"%d":1' % each for each in range(n)) + b"}",
    "wrong items": lambda n: b'{"codes":[' + b"1," * n + b'1],"order_ref":1}',
    "wrong items inside": lambda n: b'{"order":{"items":[' + b'{"amount":-1},' * n + b"{}]}}",
    "keys of dead letters": lambda n: b'{"keys":[' + b'"a",' * n + b'"a"],"all":true}',
    "long keys of dead letters": lambda n: b'{"keys":["' + b"a" * n + b'"],"justification":"' + b"a" * n + b'"}',
    "halves of characters": lambda n: b'["' + b"\\ud800" * n + b'"]',
    "digits": lambda n: b"[" + b"9" * n + b"]",
    "a long fraction": lambda n: b"[0." + b"9" * n + b"e" + b"9" * n + b"]",
    "an event of wrong codes": lambda n: EVENT % (b"1," * n),
    "an event of long attributes": lambda n: EVENT % (b'"A"],"attributes":{"a":"' + b"x" * n + b'"},"codes":['),
}
FILES: dict[str, Callable[[int], bytes]] = {
    "a quote that never closes before short lines": lambda n: b'"' + b"\n" * n,
    "a quote that never closes before quoted lines": lambda n: b'"' + b'""\n' * n,
    "a quote that never closes in each line": lambda n: b'"\n' * n,
    "quotes": lambda n: b'"' * n,
    "commas": lambda n: b"," * n,
    "empty lines": lambda n: b"\n" * n,
    "no line end": lambda n: b"a" * n,
    "open arrays": lambda n: b"[" * n + b"\n",
    "unknown members": lambda n: b"{" + b",".join(b'"%d":1' % each for each in range(n)) + b"}\n",
}

HEADERS: dict[str, tuple[str, Callable[[int], str]]] = {
    "empty parameters of a media type": ("Content-Type", lambda n: "application/json" + ";" * n),
    "quoted parameters of a media type": ("Content-Type", lambda n: "application/json" + ';a=";"' * n),
    "numbered parameters of a media type": ("Content-Type", lambda n: "a/b" + "".join(f";a*{k}*=x" for k in range(n))),
    "kinds of answer": ("Accept", lambda n: "text/csv;q=0.1," * n),
    "versions": ("If-Match", lambda n: '"1",' * n),
    "addresses": ("X-Forwarded-For", lambda n: "10.0.0.1, " * n),
    "an address": ("X-Forwarded-For", lambda n: ":" * n),
    "white space before a key": ("Authorization", lambda n: "Bearer" + " " * n),
    "a key": ("X-Partner-Key", lambda n: "mw_sk_" + "a" * n),
    "points of a token": ("Authorization", lambda n: "." * n),
    "a token's header": ("Authorization", lambda n: f"{'a' * n}.a.{'A' * 86}"),
    "a token's claims": ("Authorization", lambda n: f"e30.{'a' * n}.{'A' * 86}"),
    "a token's signature": ("Authorization", lambda n: "e30.e30." + "A" * n),
    "members of a token's header": ("Authorization", lambda n: _token(dict.fromkeys(map(str, range(n)), 1), {})),
    "claims of a known key": ("Authorization", lambda n: _token(_HEADER, dict.fromkeys(map(str, range(n)), 1))),
    "a claim of a known key": ("Authorization", lambda n: _token(_HEADER, {"jti": "x" * n, "sub": "-" * n})),
    "a trace": ("traceparent", lambda n: f"01-{'a' * 32}-{'b' * 16}-01-" + "a" * n),
    "an idempotency key": ("Idempotency-Key", lambda n: "a" * n),
}

TABLES: dict[str, Callable[[int], bytes]] = {
    "empty entries": lambda n: b"\x00V" * n,
    "the same name": lambda n: b"\x01at\x01" * n,
    "names": lambda n: b"".join(b"\x04%04dV" % each for each in range(n)),
    "texts": lambda n: b"\x0btraceparentS\x00\x00\x00\x01a" * n,
    "an array": lambda n: b"\x01aA" + n.to_bytes(4) + b"V" * n,
    "nested arrays": lambda n: b"\x01a" + b"".join(b"A" + (5 * left).to_bytes(4) for left in range(n, -1, -1)),
    "nested tables": lambda n: b"".join(b"\x00F" + (6 * left).to_bytes(4) for left in range(n, -1, -1)),
}

QUERIES: dict[str, Callable[[int], str]] = {
    "the same parameter": lambda n: "cursor=1&" * n,
    "other parameters": lambda n: "&".join(map(str, range(n))),
    "escapes": lambda n: "cursor=" + "%00" * n,
    "a cursor": lambda n: "cursor=" + "W" * n,
    "a span of statistics": lambda n: (
        f"from=2026-01-01T00:00:00.{'0' * n}Z&to={'9' * n}&zone={'A/' * n}&groups={'9' * n}"
    ),
    "a table of statistics": lambda n: f"step={'1' * n}d&group_by={'code_id,' * n}&partner_id={'-' * n}",
    "the operators' history": lambda n: f"since={'9' * n}&type={'code.' * n}&state={'a' * n}&reason={'é' * n}",
}

_checker: URLChecker = URLChecker(Mock(NameService), is_development=False)

TEXTS: dict[str, Callable[[str], object]] = {
    "a code": canonical_code,
    "codes": lambda text: wanted_codes(list(text)),
    "a cursor": lambda text: decode_cursor(text, datetime, str),
    "a trace": valid_traceparent,
    "an API key": api_keys.parse,
    "an e-mail address": checked_email,
    "a link": lambda text: checked_link_url("https://shop.example/" + text),
    "a webhook's URL": lambda text: _checker.check("https://" + text),
    "a webhook's headers": lambda text: check_headers({f"X-{nth}": text for nth in range(20)}),
    "a wish for a later attempt": lambda text: retry_after(text, NOW),
    "an answer that is reported": listening.reported_text,
}
SPELLINGS = ("a", "0", " ", "-", ".", ",", ":", "=", "\x00", "é", "ﷺ", "\u0301\u0323", "Mon, ", "1.", "%41", '"', "\\")


def at_most_doubles(act: Callable[[int], Callable[[], object]], size: int = SIZE) -> None:
    once, twice = steps_of(act(size)), steps_of(act(2 * size))
    assert once > 0
    assert twice <= FACTOR * once + CONSTANT, f"{once} steps become {twice}"


@pytest.mark.parametrize("made", BODIES.values(), ids=BODIES.keys())
def test_bodies(made: Callable[[int], bytes]) -> None:
    def act(n: int) -> Callable[[], object]:
        raw = made(n)
        return lambda: _each(_BODY_DOORS, raw)

    at_most_doubles(act)


def _each(doors: Iterable[Callable[[Any], object]], given: Any) -> None:
    """Try all doors; that one refuses what it is given is its right."""
    for door in doors:
        with suppress(Exception):
            door(given)


_BODY_DOORS: tuple[Callable[[bytes], object], ...] = (
    lambda raw: loads(raw, max_bytes=2**20),
    lambda raw: decode_data(decode_envelope(raw), CheckoutCompletedV1),
    lambda raw: parse_body(raw, RedemptionBody, 2**20),
    lambda raw: parse_body(raw, EndpointCreation, 2**20),
    lambda raw: parse_body(raw, NextQuestion, 2**20),
    lambda raw: parse_body(raw, LetterRequest, 2**20),
    lambda raw: parse_body(raw, ReplayRequest, 2**20),
)


@pytest.mark.parametrize("is_end", [False, True])
@pytest.mark.parametrize("kind", ["csv", "ndjson"])
@pytest.mark.parametrize("made", FILES.values(), ids=FILES.keys())
def test_files(made: Callable[[int], bytes], kind: Any, is_end: bool) -> None:
    def act(n: int) -> Callable[[], object]:
        data = CountedBytes(made(n))
        return lambda: _read_all(data, kind, is_end=is_end)

    at_most_doubles(act)


def _read_all(data: bytes, kind: Any, *, is_end: bool) -> None:
    for record in split_records(data, kind, is_end=is_end, is_skipping=False, most=len(data)).records:
        _each(_LINE_DOORS, record.raw)


_LINE_DOORS: tuple[Callable[[bytes], object], ...] = (
    checked_header,
    read_ndjson_line,
    lambda raw: read_csv_line(raw, ["code", "metadata"]),
)


@pytest.mark.parametrize(("name", "made"), HEADERS.values(), ids=HEADERS.keys())
def test_headers(name: str, made: Callable[[int], str]) -> None:
    def act(n: int) -> Callable[[], object]:
        http = make_mocked_request("POST", "/", headers={name: made(n)})
        return lambda: _each(_HEADER_DOORS, http)

    at_most_doubles(act)


_ROUTE = cast("Route", SimpleNamespace(security="either", scopes=(), operator_allowed=True))


def _presented(http: web.Request) -> object:
    return api_keys.parse(Gate(_ROUTE, Mock(), "token")._presented(http))


_HEADER_DOORS: tuple[Callable[[web.Request], object], ...] = (
    media_type,
    idempotency_key,
    _presented,
    _traceparent,
    wants_csv,
    lambda http: versions(Request(http, "id", "management")),
    lambda http: DASHBOARD.keys.read(http.headers.get("Authorization", ""), "codes", utc_now()),
    lambda http: client_network("::1", ",".join(http.headers.getall("X-Forwarded-For", ())), 1),
)


@pytest.mark.parametrize("made", TABLES.values(), ids=TABLES.keys())
def test_tables_of_headers(made: Callable[[int], bytes]) -> None:
    def act(n: int) -> Callable[[], object]:
        raw = CountedBytes(made(n))
        return lambda: _each(_TABLE_DOORS, raw)

    at_most_doubles(act)


_TABLE_DOORS: tuple[Callable[[bytes], object], ...] = (
    lambda raw: dict(Headers(raw).items()),
    lambda raw: Headers(raw).get("traceparent"),
    lambda raw: without(raw, lambda name: name.startswith(b"x-")),
)


@pytest.mark.parametrize("made", QUERIES.values(), ids=QUERIES.keys())
def test_query_strings(made: Callable[[int], str]) -> None:
    def act(n: int) -> Callable[[], object]:
        http = make_mocked_request("GET", f"/?{made(n)}")
        return lambda: _query(http)

    at_most_doubles(act)


def _query(http: web.Request) -> None:
    _each(_QUERY_DOORS, http)


_QUERY_DOORS: tuple[Callable[[web.Request], object], ...] = (
    lambda http: decode_cursor(cast("PageQuery", parse_query(http, PageQuery)).cursor or "", str),
    *(partial(parse_query, model=model) for model in (StatsQuery, CodeStatsQuery, LetterQuery, HistoryQuery, JobQuery)),
)


@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
@pytest.mark.parametrize("door", TEXTS.values(), ids=TEXTS.keys())
def test_texts(door: Callable[[str], object], spelling: str) -> None:
    at_most_doubles(lambda n: lambda: door(spelling * (n // len(spelling))))


@pytest.mark.parametrize("signature", ["v1,AAAA ", "v1a,AAAA ", "v1, ", " "])
def test_signatures_that_are_examined(signature: str) -> None:
    """Each signature is worth a look at the whole body, so there must not be as many as fit."""

    def matches(content: bytes, given: Sequence[bytes]) -> bool:
        add_steps(len(content) * len(given))
        return False

    verifiers = [Verifier("a", "v1", matches), Verifier("b", "v1a", matches)]

    def act(n: int) -> Callable[[], object]:
        headers = {"webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": signature * n}
        return lambda: examine(headers, b'{"a":"' + b"b" * n + b'"}', verifiers, 1, 300)

    at_most_doubles(act)


HEADS: Mapping[str, bytes] = {
    "empty lines": b"\r\n\r\n",
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\n",
    "lines": b"\r\n",
}


@pytest.mark.parametrize("part", HEADS.values(), ids=HEADS.keys())
async def test_heads_of_receivers_answers(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before an answer is handed on in pieces; that must not copy all that follows for each."""
    monkeypatch.setattr("aiohttp.client_proto.ResponseHandler.data_received", lambda _, data: add_steps(len(data)))
    protocol = BoundedAnswer(loop=asyncio.get_running_loop())
    protocol.connection_made(Mock(asyncio.Transport, **{"get_extra_info.return_value": None}))

    def act(n: int) -> Callable[[], object]:
        protocol.begin()
        data = CountedBytes(part * n)
        return lambda: protocol.data_received(data)

    at_most_doubles(act)


def test_the_periods_of_a_batch() -> None:
    """Each purchase has a coupon and a time of its own; the batch must not look at every coupon at every time."""

    def act(n: int) -> Callable[[], object]:
        program_id, coupons = uuid4(), [uuid4() for _ in range(n)]
        state = SimpleNamespace(counts_periods=True, knows_periods=True, terms=SimpleNamespace(timezone="UTC"))
        counted = cast("CountedTerms", SimpleNamespace(coupons=dict.fromkeys(coupons, state)))
        purchases = [
            Purchase(program_id, "", "", "", wanted_codes([str(nth)]), NOW + timedelta(hours=nth), None, None)
            for nth in range(n)
        ]
        terms = [cast("CodeTerms", SimpleNamespace(coupon_id=coupon_id)) for coupon_id in coupons]
        candidates = {
            (program_id, purchase.codes[0].canonical or ""): [each]
            for purchase, each in zip(purchases, terms, strict=True)
        }
        return lambda: _moments(purchases, candidates, counted, {})

    at_most_doubles(act)


@pytest.mark.parametrize("value", ["a", "é", "\udcff"], ids=ascii)
def test_headers_of_receivers_answers(value: str) -> None:
    def act(n: int) -> Callable[[], object]:
        headers = CIMultiDictProxy(CIMultiDict({f"X-{nth}": value * n for nth in range(n)}))
        return lambda: client.kept_headers(cast("ClientResponse", SimpleNamespace(headers=headers)))

    at_most_doubles(act)
