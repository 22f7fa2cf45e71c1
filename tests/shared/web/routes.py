"""The routes of the application under test: one of each kind."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, model_validator

from shared.web import (
    HTTPProblem,
    InstantOrDate,
    Int,
    Number,
    Page,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    Text,
    data_response,
    field_error,
    idempotency_key_reused,
    json_response,
    not_found,
    page_response,
    rate_limit_headers,
    rate_limited,
    replayed_response,
)


class OutOfStock(Exception):
    """There is nothing left."""

    @staticmethod
    def translate(error: Exception) -> HTTPProblem | None:
        """The error table of the service under test."""
        return HTTPProblem(409, "out_of_stock", str(error)) if isinstance(error, OutOfStock) else None


@dataclass
class Kept:
    """Lets a test hold a handler and see how it ended."""

    entered: asyncio.Event
    release: asyncio.Event
    finished: asyncio.Event


KEPT = web.AppKey("kept", Kept)


class Sync(RequestModel):
    """An object inside a body."""

    provider: Literal["stripe", "paddle"]


class MakeThing(RequestModel):
    """A body with a field of each kind."""

    name: Annotated[Text, Field(min_length=1)]
    kind: Literal["once", "months"] = "once"
    count: Annotated[Int, Field(ge=1, le=100)] = 1
    amount: Annotated[Number, Field(ge=0, le=100, decimal_places=2)] | None = None
    ends_at: InstantOrDate | None = None
    is_open: bool = False
    tags: Annotated[list[Text], Field(max_length=2)] = Field(default_factory=list)
    sync: Sync | None = None
    metadata: dict[str, object] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _months_need_a_count(self) -> "MakeThing":
        if self.kind == "months" and "count" not in self.model_fields_set:
            raise field_error("count", "is required when kind is months")
        return self


class Thing(ResponseModel):
    """What is answered."""

    id: str
    name: str


class ThingAnswer(ResponseModel):
    """One thing."""

    data: Thing


class Find(PageQuery):
    """A list with a filter."""

    tag: list[str] | str | None = None
    is_open: bool | None = None


async def _generate(request: Request) -> web.StreamResponse:
    body = {"ok": True, "partner": str(request.partner_id), "idempotency_key": request.idempotency_key}
    return json_response(body, 201, rate_limit_headers(100, 99, 60))


async def _make(request: Request) -> web.StreamResponse:
    made = request.body(MakeThing)
    return data_response({"sent": made.model_dump(mode="json"), "bytes": len(request.raw_body)}, 201)


async def _list(request: Request) -> web.StreamResponse:
    query = request.query(Find)
    query.position(str)
    return page_response([Thing(id="1", name=f"{query.tag} {query.limit}")], query.cursor_after("1"))


async def _show(request: Request) -> web.StreamResponse:
    if request.path("id") != "1":
        raise not_found()
    return json_response(ThingAnswer(data=Thing(id="1", name="one")))


async def _raise(request: Request) -> web.StreamResponse:
    errors: dict[str, Exception] = {
        "crash": RuntimeError("secret detail"),
        "stock": OutOfStock("There is nothing left."),
        "quota": HTTPProblem(403, "quota_exhausted", "No codes remaining"),
        "limit": rate_limited(100, 42),
        "reused": idempotency_key_reused(),
    }
    raise errors[request.path("what")]


async def _replay(_request: Request) -> web.StreamResponse:
    return replayed_response(b'{"data":1}', 201)


async def _who(request: Request) -> web.StreamResponse:
    return json_response({"is_operator": request.is_operator})


async def _hold(request: Request) -> web.StreamResponse:
    kept = request.dependency(KEPT)
    kept.entered.set()
    await kept.release.wait()
    kept.finished.set()
    return json_response({"ok": True})


async def _stream(request: Request) -> web.StreamResponse:
    stream = await request.start_stream("text/csv")
    await stream.write(b"a,b\n")
    if request.path("how") == "broken":
        raise RuntimeError("half-way")
    return stream


async def _import(request: Request) -> web.StreamResponse:
    return json_response({"bytes": len(request.raw_body), "sha256": request.body_sha256.hex()})


async def _stream_in(request: Request) -> web.StreamResponse:
    before = request.fingerprint
    sizes = [len(chunk) async for chunk in request.chunks(("text/csv",), 300_000)]
    return json_response({"bytes": sum(sizes), "before": before.hex(), "fingerprint": request.fingerprint.hex()})


def make_routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="POST",
            path="/api/partners/codes/generate",
            handler=_generate,
            summary="Mint",
            tag="partner",
            security="partner_key",
            scope="codes:generate",
            family="partner",
            responses={201: "Minted"},
            idempotent=True,
            rate_limited=True,
        ),
        _route("POST", "/v1/things", _make, body=MakeThing, responses={201: ThingAnswer}),
        _route("GET", "/v1/things", _list, query=Find, responses={200: Page[Thing]}),
        _route("GET", "/v1/things/{id}", _show, responses={200: ThingAnswer, 404: "No such thing"}),
        _route("PATCH", "/v1/things/{id}", _make, body=MakeThing, body_required=False),
        _route("POST", "/v1/raise/{what}", _raise),
        _route("POST", "/v1/replay", _replay),
        _route("POST", "/v1/who", _who, operator_allowed=True),
        _route("POST", "/v1/operators", _who, security="operator", scope=None),
        _route("POST", "/v1/either", _who, security="either", scope=("codes:generate", "manage")),
        _route("POST", "/v1/public", _who, security="bearer", scope="validate", is_open_to_browsers=True),
        _route("GET", "/v1/open", _who, security="none", scope=None),
        _route("GET", "/v1/unscoped", _who, scope=None),
        _route("POST", "/v1/hold", _hold),
        _route("GET", "/v1/stream/{how}", _stream),
        _route("POST", "/v1/import", _import, raw_body=("text/csv",), body_limit=200_000),
        _route("POST", "/v1/streamed", _stream_in, raw_body=("text/csv",), is_streamed=True),
        Route(
            method="POST",
            path="/api/partners/raise/{what}",
            handler=_raise,
            summary="Refuse",
            tag="partner",
            security="partner_key",
            family="partner",
            responses={200: "Never"},
        ),
    ]


def _route(method: str, path: str, handler: object, **more: object) -> Route:
    given: dict[str, object] = {
        "method": method,
        "path": path,
        "handler": handler,
        "summary": "Do",
        "tag": "things",
        "security": "bearer",
        "scope": "manage",
        "family": "management",
        "responses": {200: "Done"},
    }
    return Route(**(given | more))  # type: ignore[arg-type]
