"""The one layer around every page: the host, who looks, whether they may, whether the form is ours; headers, log."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode

import structlog
from aiohttp import web

from services.dashboard.api import failures
from services.dashboard.api.page import Page
from services.dashboard.api.pages import PageRoute
from services.dashboard.api.security import CSRF_FIELD, CSRF_HEADER, HEADERS, HSTS, is_csrf_token
from services.dashboard.api.site import Site
from services.dashboard.domain.accounts import Viewer
from services.dashboard.domain.errors import NothingThere, PasswordWrong
from services.dashboard.domain.permissions import ACTIONS
from services.dashboard.usecases.visits import Visit
from shared.client_networks import client_network
from shared.ids import new_request_id
from shared.log import line_writer
from shared.metrics import HTTP_REQUESTS, HTTP_SECONDS
from shared.web.bodies import read_body
from shared.web.problems import HTTPProblem
from shared.web.responses import REQUEST_ID_HEADER

_BODY_LIMIT: Final = 64 * 1024
_MOST_FIELDS: Final = 500
_FORM_TYPES: Final = ("application/x-www-form-urlencoded",)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_PASSWORD: Final = "password"  # noqa: S105 - the name of a field


class PageEndpoint:
    """Serves one page."""

    def __init__(self, route: PageRoute, site: Site) -> None:
        self._route = route
        self._site = site
        self._observe = HTTP_SECONDS.labels(route.path).observe
        self._write_line = line_writer("http_request")

    async def serve(self, http: web.Request) -> web.StreamResponse:
        """Answer one request. Every outcome passes here, so each has the headers, one log line and one count."""
        started = time.perf_counter()
        page = Page(http, self._site, self._visit(http), None)
        structlog.contextvars.bind_contextvars(request_id=page.visit.request_id)
        try:
            page, response = await self._answer(page)
        except Exception as error:  # noqa: BLE001 - the process edge: nothing above could answer
            response = failures.answer(page, error)
        self._finish(page, response)
        self._record(page, response.status, time.perf_counter() - started)
        return response

    async def _answer(self, page: Page) -> tuple[Page, web.StreamResponse]:
        http, route, site = page.http, self._route, self._site
        if not site.origin.admits(http):
            return page, failures.unknown_host(page)
        viewer = await self._viewer(http)
        page = Page(http, site, page.visit, viewer)
        try:
            return page, await self._admitted(page, viewer)
        except Exception as error:  # noqa: BLE001 - as above, but with the viewer's frame around the sentence
            return page, failures.answer(page, error, is_for_role=route.role is not None)

    async def _admitted(self, page: Page, viewer: Viewer | None) -> web.StreamResponse:
        route = self._route
        if route.method == "POST":
            await self._take_form(page, viewer)
        if not route.is_public:
            if viewer is None:
                return self._to_sign_in(page)
            wait = self._site.budgets.spend(viewer.account.id, is_write=route.method == "POST")
            if wait is not None:
                return failures.too_many_requests(page, wait)
            if route.role is not None and route.role != viewer.role:
                raise NothingThere
            if route.action is not None and not page.may(route.action):
                if viewer.role in ACTIONS[route.action].weights:
                    return failures.look_only(page)
                raise NothingThere
            if (question := await self._confirm(page, viewer)) is not None:
                return question
        return await route.handler(page)

    async def _take_form(self, page: Page, viewer: Viewer | None) -> None:
        http, origin = page.http, self._site.origin
        if not origin.is_own_form(http):
            raise failures.ForeignForm
        raw = await read_body(http, _FORM_TYPES, _BODY_LIMIT)
        page.form = _parsed(raw)
        secret = http.cookies.get(origin.cookie("" if viewer else "pre"), "")
        given = page.form.get(CSRF_FIELD) or http.headers.get(CSRF_HEADER) or ""
        if viewer is None and not self._route.is_public:
            return
        if not secret or not is_csrf_token(given, secret):
            raise failures.ForeignForm

    async def _confirm(self, page: Page, viewer: Viewer) -> web.StreamResponse | None:
        """For what needs a fresh sign-in, check the password that came with the form, or ask for it, the form kept."""
        if not self._route.is_fresh or viewer.is_fresh(page.now):
            return None
        errors = {}
        if password := page.form.get(_PASSWORD):
            try:
                page.new_cookies[""] = await self._site.use_cases.sessions.confirm(viewer, password, page.visit)
            except PasswordWrong:
                errors = {_PASSWORD: "The password is wrong"}
            else:
                return None
        kept = {name: value for name, value in page.form.items() if name not in {_PASSWORD, CSRF_FIELD}}
        return page.render("confirm_password.html", status=422 if errors else 200, errors=errors, kept=kept)

    def _to_sign_in(self, page: Page) -> web.StreamResponse:
        target = page.http.path_qs if self._route.method == "GET" else ""
        return page.redirect(f"/sign-in?{urlencode({'next': target})}" if target else "/sign-in")

    async def _viewer(self, http: web.Request) -> Viewer | None:
        token = http.cookies.get(self._site.origin.cookie())
        return await self._site.use_cases.find_viewer(token) if token else None

    def _visit(self, http: web.Request) -> Visit:
        given = http.headers.get(REQUEST_ID_HEADER, "")
        forwarded = ",".join(http.headers.getall("X-Forwarded-For", ()))
        return Visit(
            request_id=given if _REQUEST_ID.fullmatch(given) else new_request_id(),
            network=client_network(http.remote, forwarded, self._site.trusted_proxies),
            user_agent=http.headers.get("User-Agent", "")[:512],
        )

    def _finish(self, page: Page, response: web.StreamResponse) -> None:
        origin = self._site.origin
        for name, value in HEADERS.items():
            if name not in response.headers:
                response.headers[name] = value
        if self._route.hides_referrer:
            response.headers["Referrer-Policy"] = "no-referrer"
        if origin.is_secure:
            response.headers["Strict-Transport-Security"] = HSTS
        response.headers[REQUEST_ID_HEADER] = page.visit.request_id
        for purpose, secret in page.new_cookies.items():
            if secret is None:
                origin.clear_cookie(response, purpose)
            else:
                origin.set_cookie(response, purpose, secret)

    def _record(self, page: Page, status: int, seconds: float) -> None:
        self._observe(seconds)
        HTTP_REQUESTS.labels(page.http.method, self._route.path, str(status)).inc()
        self._write_line(
            request_id=page.visit.request_id,
            method=page.http.method,
            route=self._route.path,
            status=status,
            duration_ms=round(seconds * 1000, 2),
            account_id=str(page.viewer.account.id) if page.is_signed_in else None,
        )


def _parsed(raw: bytes) -> Mapping[str, str]:
    """Return the fields of a form; of one that is given twice the last."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise HTTPProblem(400, "malformed_form", "The form cannot be read.") from None
    if any("\x00" in value for _, value in pairs):
        raise HTTPProblem(400, "malformed_form", "The form cannot be read.")
    return dict(pairs)


def serve_static(site: Site) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return what serves the files."""
    missing = unmatched(site)

    async def serve(http: web.Request) -> web.StreamResponse:
        file = site.static.find(http.match_info["path"])
        return file.response(http) if file is not None else await missing(http)

    return serve


def unmatched(site: Site) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return what answers an address without a page, in the frame of the viewer if there is one."""

    async def refuse(page: Page) -> web.StreamResponse:
        return failures.nothing_here(page)

    return PageEndpoint(PageRoute(method="GET", path="unmatched", handler=refuse, is_public=True), site).serve
