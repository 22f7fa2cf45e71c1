"""The request for a page as its handler sees it: who looks, what the form says, the services, and the answer."""

import asyncio
import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import web

from services.dashboard.api.parts import Missing
from services.dashboard.api.security import csrf_token
from services.dashboard.api.site import Site
from services.dashboard.clients.errors import ServiceDown
from services.dashboard.clients.service import DEADLINE_SECONDS, Answer, ServiceClient
from services.dashboard.domain import navigation, permissions, words
from services.dashboard.domain.accounts import Viewer
from services.dashboard.domain.errors import NothingThere
from services.dashboard.usecases.tokens import new_token
from services.dashboard.usecases.visits import Visit
from shared.account_tokens import Acting

MOST_CALLS: Final = 6
_STOP_POLLING: Final = 286


@dataclass(frozen=True, slots=True)
class Asking:
    """A service as this page's viewer asks it: `await page.codes.get("/v1/coupons/{}", coupon_id, limit=5)`.

    Each `{}` of the path takes one of the parts, escaped. Raises ServiceDown, NotThere and Refused.
    """

    page: "Page"
    client: ServiceClient

    async def get(self, path: str, *parts: object, **query: str | int | None) -> Answer:
        """Read something."""
        return await self._call("GET", _filled(path, parts), query)

    async def post(
        self,
        path: str,
        *parts: object,
        body: Mapping[str, Any] | None = None,
        once: bool = False,
        seconds: float = DEADLINE_SECONDS,
    ) -> Answer:
        """Do something; `once` makes a second submit of the same form a repeat, which `is_replayed` tells."""
        key = self.page.form_id if once else None
        return await self._call("POST", _filled(path, parts), body=body or {}, key=key, seconds=seconds)

    async def patch(self, path: str, *parts: object, body: Mapping[str, Any]) -> Answer:
        """Change something."""
        return await self._call("PATCH", _filled(path, parts), body=body)

    async def delete(self, path: str, *parts: object) -> Answer:
        """End something."""
        return await self._call("DELETE", _filled(path, parts))

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> Answer:
        self.page.count_call()
        acting = self.page.acting
        return await self.client.call(acting, method, path, query, body, idempotency_key=key, seconds=seconds)


class Page:
    """One request. Its `viewer` is None only where a page is public."""

    def __init__(self, http: web.Request, site: Site, visit: Visit, viewer: Viewer | None) -> None:
        self.http = http
        self.site = site
        self.visit = visit
        self.now: datetime = site.clock()
        self._viewer = viewer
        self.form: Mapping[str, str] = {}
        # Secrets for cookies that the layer around the handler sets.
        self.new_cookies: dict[str, str | None] = {}
        self._calls = 0

    @property
    def viewer(self) -> Viewer:
        """Who looks at the page."""
        if self._viewer is None:
            raise NothingThere
        return self._viewer

    @property
    def is_signed_in(self) -> bool:
        """Whether there is a viewer."""
        return self._viewer is not None

    @property
    def zone(self) -> str:
        """The time zone of the page."""
        return self._viewer.zone if self._viewer else "UTC"

    @property
    def acting(self) -> Acting:
        """What is stated to the services."""
        viewer = self.viewer
        return Acting(
            account_id=viewer.account.id,
            role=viewer.role,
            grade=viewer.membership.grade,
            request_id=self.visit.request_id,
            program_id=viewer.membership.owner.program_id,
            partner_id=viewer.membership.owner.partner_id,
        )

    @property
    def codes(self) -> Asking:
        """The codes service."""
        return Asking(self, self.site.services.codes)

    @property
    def redemption(self) -> Asking:
        """The redemption service."""
        return Asking(self, self.site.services.redemption)

    @property
    def webhooks(self) -> Asking:
        """The webhooks service."""
        return Asking(self, self.site.services.webhooks)

    async def ask(self, *calls: Awaitable[Answer]) -> list[Any]:
        """Make calls side by side; a service that does not answer gives a `Missing` in its place.

        What is missing or refused raises: that is not an outage.
        """
        found = await asyncio.gather(*calls, return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, ServiceDown):
                raise each
        return [Missing(each.service) if isinstance(each, ServiceDown) else each for each in found]

    def count_call(self) -> None:
        """Count a call to a service: a page makes at most six."""
        self._calls += 1
        if self._calls > MOST_CALLS:
            raise RuntimeError(f"a page makes at most {MOST_CALLS} calls")

    def may(self, action: str) -> bool:
        """Return whether the viewer has an action, for what a page offers."""
        return permissions.may(self.viewer.role, self.viewer.membership.grade, action)

    def path_id(self, name: str) -> uuid.UUID:
        """Return an id in the path; a malformed one is nothing."""
        try:
            return uuid.UUID(self.http.match_info[name])
        except ValueError:
            raise NothingThere from None

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return self.http.match_info[name]

    def query(self, name: str) -> str:
        """Return a parameter of the address without the spaces around it; empty if it is not there."""
        return self.http.query.get(name, "").strip()

    def text(self, name: str) -> str:
        """Return a field of the form without the spaces around it."""
        return self.form.get(name, "").strip()

    @cached_property
    def form_id(self) -> str:
        """The id of this form: what it was sent with, or a new one for the form that is shown."""
        given = self.form.get("form_id", "")
        return given if given.isalnum() and len(given) == 32 else uuid.uuid4().hex

    @property
    def is_htmx(self) -> bool:
        """Whether htmx asks for a part of the page."""
        return self.http.headers.get("HX-Request") == "true"

    @property
    def theme(self) -> str:
        """The theme that the browser was set to: `light`, `dark`, or empty for the system's."""
        found = self.http.cookies.get(self.site.origin.cookie("theme"), "")
        return found if found in {"light", "dark"} else ""

    @cached_property
    def csrf(self) -> str:
        """What this browser's forms carry: bound to its session, or before that to a cookie of their own."""
        cookies, origin = self.http.cookies, self.site.origin
        if self._viewer is not None:
            return csrf_token(self.new_cookies.get("") or cookies[origin.cookie()])
        if not (secret := cookies.get(origin.cookie("pre"))):
            secret = self.new_cookies["pre"] = new_token()
        return csrf_token(secret)

    @property
    def navigation(self) -> list[navigation.Entry | navigation.Heading]:
        """The entries of the viewer's role whose pages exist."""
        return navigation.entries(self.viewer.role, self.site.paths)

    @property
    def current_entry(self) -> str:
        """The path of the entry that this page belongs to."""
        return navigation.current(self.navigation, self.http.path)

    @property
    def note(self) -> str:
        """The text that a redirect left for this page."""
        return words.NOTES.get(self.query("note"), "")

    def with_query(self, **changes: str | int | None) -> str:
        """Return this page's address with other parameters; None takes one away."""
        kept = {name: value for name, value in self.http.query.items() if name != "note"} | changes
        given = {name: str(value) for name, value in kept.items() if value not in (None, "")}
        return f"{self.http.path}?{urlencode(given)}" if given else self.http.path

    def render(self, template: str, *, status: int = 200, block: str | None = None, **context: Any) -> web.Response:
        """Answer with a page; with `block` only that part of it, if htmx asks."""
        given = {"page": self, "errors": {}, "form": self.form, **context}
        text = self.site.renderer.render(template, given, block if self.is_htmx else None)
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")

    def refuse(
        self, template: str, errors: Mapping[str, str], *, block: str | None = None, **context: Any
    ) -> web.Response:
        """Answer 422 with the form again: its values, a summary, and each error at its field."""
        return self.render(template, status=422, block=block, errors=errors, **context)

    def poll(self, template: str, block: str, version: str, *, is_done: bool = False, **context: Any) -> web.Response:
        """Answer a poll for a part: nothing while its `version` is the one that is shown, and at the end stop.

        The part carries the version in the address that it polls: `?seen=`.
        """
        if self.query("seen") == version and not is_done:
            return web.Response(status=204)
        response = self.render(template, block=block, version=version, is_done=is_done, **context)
        if is_done:
            response.set_status(_STOP_POLLING)
        return response

    def redirect(self, path: str, *parts: object, note: str = "") -> web.Response:
        """Go on to another page, which shows the note of that name."""
        where = _filled(path, parts) + (f"?note={note}" if note else "")
        if self.is_htmx:
            return web.Response(headers={"HX-Redirect": where})
        return web.Response(status=303, headers={"Location": where})


def _filled(path: str, parts: tuple[object, ...]) -> str:
    return path.format(*(quote(str(part), safe="") for part in parts)) if parts else path
