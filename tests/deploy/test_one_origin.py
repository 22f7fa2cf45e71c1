"""One origin: no two services share a path, the proxy's maps are the routes', and the proxy itself does as they say."""

import asyncio
import itertools
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from scripts.origin_maps import (
    BODIES_MAP,
    PROBES,
    SERVICES_MAP,
    SHARED,
    Collision,
    _entries,
    api_services,
    origin_maps,
    routes_of,
)
from services.dashboard.api.routes import PAGES
from shared.web.application import BODY_LIMIT
from tests.contracts.seeding import seed
from tests.databases import SERVICES, Database
from tests.deploy.proxies import FOLDER, running_proxy
from tests.running import running_services

ORIGIN = 8080
# How a name in a path may read; the characters that a path would end at are escaped, as clients do.
NAMES = ("x", "SPRING-20", "a%2Fb", "gid%3A%2F%2Fshop%2FOrder%2F1", "%2E.5", "a.b", "..a", "%25", "%E2%82%AC")
INTERNAL = ("/metrics", "/readyz", "/livez", "/v1/operator/codes/tasks", "/v1/operator/redemption/outbox")

CLOSED = (
    *("/v1", "/v1/", "/api", "/api/v2/coupons", "/v1/coupons-x", "/openapi.json"),
    *("//v1/coupons", "/v1//coupons", "/v1/%63oupons", "/v1/coupons/../operator/codes/tasks"),
    *("/v1/coupons/%2e%2e/%2E%2e/metrics", "/v1/coupons/./x", "/api/v1/../../metrics", "/v1/coupons/.."),
    *("/.well-known/security.txt", "/docs/", "/docs/none", "/openapi/none.json"),
    *INTERNAL,
    *(
        "/metrics/",
        "/metrics/codes",
        "/readyz/webhooks",
        "/livez/redemption",
        "/%6detrics",
        "//metrics",
        "/metrics?x",
    ),
    *(
        "/v1/operator",
        "/v1/operator/",
        "/v1/%6fperator/codes/tasks",
        "/v1/operator%2Fcodes%2Ftasks",
        "/v1//operator/codes",
    ),
)


def test_the_maps_are_those_of_the_routes() -> None:
    for path, content in origin_maps().items():
        assert path.read_text("utf-8") == content, "run: python -m scripts.generate_docs"


def test_no_two_services_answer_the_same_method_and_path_but_for_the_listed_few() -> None:
    owners: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for service in api_services():
        for route in routes_of(service):
            owners[route.method, re.sub(r"\{[^{}]*\}", "{}", route.path)].add(service)
    shared = {path for (_, path), services in owners.items() if len(services) > 1}
    assert shared == {*SHARED}


@pytest.mark.parametrize("service", api_services())
def test_each_path_of_a_service_is_its_own_by_the_map(service: str) -> None:
    lines = [line.split() for line in SERVICES_MAP.read_text().splitlines() if not line.startswith("#")]
    for route in routes_of(service):
        if route.path not in SHARED:
            found = [owner for entry, owner in lines if f"{route.path}/".startswith(entry)]
            assert found == [service], route.path
    for probe in PROBES:
        assert [f"{probe}/{service}/", service] in lines


def test_a_path_below_another_service_s_is_found_out() -> None:
    with pytest.raises(Collision, match=r"/v1/codes of one"):
        dict(_entries({"one": {"/v1/codes"}, "two": {"/v1/codes/{code}"}}))
    with pytest.raises(Collision):
        dict(_entries({"one": {"/v1/codes/{code}/x"}, "two": {"/v1/codes/{name}"}}))
    entries = dict(_entries({"one": {"/v1/a/b", "/v1/c"}, "two": {"/v1/a/c/{x}"}}))
    assert entries == {"/v1/a/b/": "one", "/v1/c/": "one", "/v1/a/c/": "two"}


@dataclass
class Stub:
    """Stands for a service: says what reached it."""

    name: str
    port: int = 0
    seen: list[str] = field(default_factory=list)
    # Whether a stream may end; until then its client has the first line only.
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.goes_on.set()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/readyz" and request.headers.get("User-Agent") is None:
            return web.Response()
        self.seen.append(request.raw_path)
        if request.path == "/v1/promotion-codes/export" and not self.goes_on.is_set():
            return await self.stream(request)
        body = await request.read()
        headers = {name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers}
        return web.json_response(
            {"service": self.name, "path": request.raw_path, "headers": headers, "bytes": len(body)}
        )

    async def stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send two lines."""
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n")
        await asyncio.wait_for(self.goes_on.wait(), 30)
        await response.write(b"second\n")
        return response


@dataclass
class Origin:
    """The proxy before stubs."""

    url: str
    stubs: Mapping[str, Stub]
    http: aiohttp.ClientSession

    async def ask(self, path: str, method: str = "GET", **more: Any) -> tuple[int, Any]:
        url = URL(self.url + path, encoded=True)
        async with self.http.request(method, url, allow_redirects=False, **more) as answer:
            return answer.status, json.loads(await answer.read() or b"null")


@asynccontextmanager
async def origin_of_stubs(folder: Path, **environment: str) -> AsyncIterator[Origin]:
    stubs = {name: Stub(name) for name in (*SERVICES, "dashboard")}
    async with AsyncExitStack() as stack:
        for stub in stubs.values():
            server = web.Server(stub.answer)
            runner = web.ServerRunner(server)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            stub.port = runner.addresses[0][1]
        urls = await stack.enter_async_context(
            running_proxy(folder, {name: stub.port for name, stub in stubs.items()}, **environment)
        )
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        yield Origin(urls[ORIGIN], stubs, http)


@pytest.fixture
async def origin(tmp_path: Path) -> AsyncIterator[Origin]:
    async with origin_of_stubs(tmp_path) as made:
        yield made


async def test_each_route_leads_to_its_service_with_its_path_as_it_came(origin: Origin) -> None:
    names = itertools.cycle(NAMES)
    for service in SERVICES:
        for route in routes_of(service):
            if route.path in SHARED or route.path.startswith("/v1/operator/"):
                continue
            path = re.sub(r"\{[^{}]*\}", lambda _: next(names), route.path)
            for target in (path, f"{path}?a=%2F..%2F&b=1"):
                status, answer = await origin.ask(target, route.method)
                assert (status, answer["service"], answer["path"]) == (200, service, target)


async def test_what_is_nobody_s_or_internal_reaches_no_service(origin: Origin) -> None:
    for path in CLOSED:
        status, refused = await origin.ask(path)
        assert (status, refused["detail"]) == (404, "There is nothing at this path."), path
        assert ("error_code" if path.startswith("/api/") else "code") in refused, path
    assert not [stub.seen for stub in origin.stubs.values() if stub.seen]


async def test_what_is_no_api_s_is_a_page(origin: Origin) -> None:
    pages = [re.sub(r"\{[^{}]*\}", "x", page.path) for page in PAGES if page.method == "GET"]
    others = ("/static/style.css", "/docs/dashboard", "/nothing", "/v1-page", "/apix/v1", "/V1/coupons", "/health")
    for path in (*pages, *others):
        status, answer = await origin.ask(path)
        assert (status, answer["service"], answer["path"]) == (200, "dashboard", path)
    # How large a page's body may be is for the dashboard to say.
    upload = await origin.ask("/merchant/imports", "POST", data=b"x" * 2**20)
    assert upload[1]["bytes"] == 2**20


def test_no_page_has_a_path_of_an_api() -> None:
    lines = [line.split()[0] for line in SERVICES_MAP.read_text().splitlines() if not line.startswith("#")]
    text = (FOLDER / "haproxy.cfg").read_text()
    [apis] = re.findall(r"acl is_api path,url_dec -m reg '([^']+)'", text)
    for page in PAGES:
        assert not [entry for entry in lines if f"{page.path}/".startswith(entry)], page.path
        assert not re.search(apis, page.path), page.path


async def test_a_setting_exposes_what_is_internal(tmp_path: Path) -> None:
    async with origin_of_stubs(tmp_path, ORIGIN_EXPOSES_INTERNALS="yes") as origin:
        for service in SERVICES:
            path = f"/v1/operator/{service}/tasks"
            assert (await origin.ask(path))[1]["path"] == path
            for probe in PROBES:
                _, answer = await origin.ask(f"{probe}/{service}")
                assert (answer["service"], answer["path"]) == (service, probe)
        for probe in PROBES:
            assert (await origin.ask(probe))[0] == 404


FORGED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/x",
    "Forwarded": "for=203.0.113.7;proto=https",
}


async def test_a_client_says_nothing_about_how_it_came(origin: Origin) -> None:
    _, answer = await origin.ask("/v1/coupons", headers={**FORGED, "Host": "codes.shop.example"})
    found = {name: value for name, value in answer["headers"].items() if "forwarded" in name}
    assert found == {
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "codes.shop.example",
    }
    assert answer["headers"]["host"] == "codes.shop.example"


async def test_a_proxy_in_front_is_believed_where_it_is_configured(tmp_path: Path) -> None:
    async with origin_of_stubs(tmp_path, TRUSTED_PROXIES="2") as origin:
        async with origin.http.get(f"{origin.url}/v1/coupons", headers=FORGED) as response:
            headers = (await response.json())["headers"]
        assert (headers["x-forwarded-proto"], headers["x-forwarded-host"]) == ("https", "evil.example")
        assert headers["x-forwarded-for"] == "203.0.113.7, 127.0.0.1"


async def test_a_body_may_be_as_large_as_at_its_service_and_no_larger(origin: Origin) -> None:
    limits = {"/v1/coupons": BODY_LIMIT, "/v1/webhooks/messages": 2 * 256 * 1024, "/v1/webhooks/endpoints": BODY_LIMIT}
    for path, limit in limits.items():
        status, answer = await origin.ask(path, "POST", data=b"x" * limit)
        assert (status, answer["bytes"]) == (200, limit)
        too_large = {"Content-Length": str(limit + 1)}
        status, refused = await origin.ask(path, "POST", headers=too_large, data=nothing())
        assert (status, refused["code"]) == (413, "too_large")
        assert refused["detail"] == f"The body is larger than {limit} bytes."
    import_ = "/v1/coupons/spring%2F1/promotion-codes/import"
    assert (await origin.ask(import_, "POST", data=b"x" * 2**20))[1]["bytes"] == 2**20
    too_large = {"Content-Length": str(256 * 2**20 + 1)}
    assert (await origin.ask(import_, "POST", headers=too_large, data=nothing()))[0] == 413


async def nothing() -> AsyncIterator[bytes]:
    """Send nothing for a while: a length that is announced is refused before any of the body has come."""
    await asyncio.sleep(0.5)
    yield b"x"


def test_every_larger_limit_of_a_route_is_in_the_map() -> None:
    lines = [line.split() for line in BODIES_MAP.read_text().splitlines() if not line.startswith("#")]
    for service in api_services():
        for route in routes_of(service):
            path = re.sub(r"\{[^{}]*\}", "name", route.path)
            [limit] = [int(limit) for pattern, limit in lines if re.match(pattern, path)] or [BODY_LIMIT]
            if route.method != "GET":
                assert limit == (route.body_limit or BODY_LIMIT), route.path


async def test_a_stream_comes_as_it_is_written(origin: Origin) -> None:
    origin.stubs["codes"].goes_on.clear()
    async with origin.http.get(f"{origin.url}/v1/promotion-codes/export") as response:
        assert await asyncio.wait_for(response.content.readline(), 10) == b"first\n"
        origin.stubs["codes"].goes_on.set()
        assert await asyncio.wait_for(response.content.readline(), 10) == b"second\n"


async def test_the_short_address_of_the_documents_leads_to_one_of_them(origin: Origin) -> None:
    async with origin.http.get(f"{origin.url}/docs", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/docs/codes")


@pytest.mark.timeout(180)
async def test_the_services_themselves_answer_behind_it(
    database: Database, clean_broker: dict[str, str], tmp_path: Path
) -> None:
    """Their documents and pages, one API of each, and none of what is internal, whatever way a path is written."""
    async with (
        running_services(database, clean_broker) as running,
        running_proxy(tmp_path, {name: running[name].port for name in SERVICES}) as urls,
        aiohttp.ClientSession() as http,
    ):
        values = await seed(running)
        origin = Origin(urls[ORIGIN], {}, http)
        bearer = {"Authorization": f"Bearer {values['PROGRAM_KEY']}"}
        for service, path in {
            "codes": "/v1/coupons",
            "redemption": "/v1/redemptions",
            "webhooks": "/v1/webhooks/endpoints",
        }.items():
            _, document = await origin.ask(f"/openapi/{service}.json")
            assert path in document["paths"]
            assert (await origin.ask(path, headers=bearer))[0] == 200
            assert (await origin.ask(path))[0] == 401
            page = await text_of(http, f"{origin.url}/docs/{service}")
            for named in re.findall(r'(?:src|href|data-document)="((?!data:)[^"]+)"', page):
                assert await text_of(http, str(URL(f"{origin.url}/docs/{service}").join(URL(named))))
        exported = await text_of(http, f"{origin.url}/v1/promotion-codes/export?format=csv", headers=bearer)
        assert "SPRING-CODE-1" in exported
        operator = {"Authorization": f"Bearer {running.operator_token}"}
        for path in INTERNAL:
            for written in (
                path,
                path.replace("e", "%65"),
                f"/api/v1/..{path}",
                f"/v1/coupons/..%2f..{path}",
                f"/{path}",
            ):
                async with http.get(URL(origin.url + written, encoded=True), headers=operator) as answer:
                    assert answer.status == 404, written
                    assert "mintwire_" not in await answer.text()


async def text_of(http: aiohttp.ClientSession, url: str, **more: Any) -> str:
    async with http.get(url, **more) as response:
        assert response.status == 200, url
        return await response.text()
