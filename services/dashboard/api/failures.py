"""What a page says instead when something is refused, missing or broken: one table from errors to sentences."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.clients.errors import NotThere, Refused, ServiceDown
from services.dashboard.domain import times, words
from services.dashboard.domain.errors import NothingThere, TooBusy, TooManyTries
from shared.faults import TransientFault
from shared.log import get_logger
from shared.web.problems import HTTPProblem


class ForeignForm(Exception):
    """A form did not come from our own page in this browser."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A page that says what happened and what to do."""

    status: int
    title: str
    text: str
    shows_id: bool = False
    can_repeat: bool = False
    retry_after: int | None = None


NOTHING: Final = Failure(404, "Nothing here", "There is nothing here, or it is not yours to see.")
_FOREIGN: Final = Failure(
    403,
    "The form is out of date",
    "It was opened before you signed in, or in another place. Nothing was changed. Go back, load the page again, and "
    "send it again.",
)
_LOOK_ONLY: Final = Failure(403, "Your account may look, not change", words.REFUSALS["look_only"])
_BUSY: Final = Failure(503, "Try again in a moment", "The dashboard is busy. Nothing was changed.", can_repeat=True)
_BROKEN: Final = Failure(
    500,
    "Something failed on our side",
    "It is in our log under the id below. If it happens again, send us that id.",
    shows_id=True,
)


def answer(page: Page, error: Exception, *, is_for_role: bool = True) -> web.Response:
    """Return the page for an error; what nobody expected goes into the log."""
    return _render(page, _failure(page, error), is_framed=page.is_signed_in and is_for_role)


def look_only(page: Page) -> web.Response:
    """Refuse a change by an account that may look."""
    return _render(page, _LOOK_ONLY, is_framed=True)


def nothing_here(page: Page) -> web.Response:
    """Answer for an address that has no page."""
    return _render(page, NOTHING, is_framed=page.is_signed_in)


def unknown_host(page: Page) -> web.Response:
    """Answer a request for a host that is not ours, without a frame: nothing here is for it."""
    return web.Response(text=f"This is {page.site.origin.url}\n", status=421)


def too_many_requests(page: Page, seconds: int) -> web.Response:
    """Ask an account to slow down."""
    text = f"Wait {seconds} seconds, then load the page again. Nothing was changed."
    return _render(page, Failure(429, "That was too fast", text, retry_after=seconds), is_framed=False)


def _failure(page: Page, error: Exception) -> Failure:
    match error:
        case NothingThere() | NotThere():
            return NOTHING
        case ForeignForm():
            return _FOREIGN
        case ServiceDown():
            get_logger().warning("service_unavailable", service=error.service, reason=error.detail)
            text = words.SERVICE_DOWN[error.service]
            return Failure(503, f"The {error.service} service does not answer", text, can_repeat=True)
        case Refused():
            text = words.REFUSALS.get(error.code, error.detail)
            return Failure(error.status, "That was refused", text, shows_id=True, retry_after=error.retry_after)
        case TooManyTries():
            until = times.clock(error.until, page.zone, seconds=True)
            seconds = max(1, int((error.until - page.now).total_seconds()))
            return Failure(429, "Too many tries", f"Wait until {until} {page.zone}.", retry_after=seconds)
        case HTTPProblem():
            return Failure(error.status, "The form cannot be read", error.detail)
        case TooBusy() | TransientFault():
            get_logger().warning("page_unavailable", reason=str(error) or type(error).__name__)
            return _BUSY
        case _:
            get_logger().error("page_failed", route=page.http.path, exc_info=error)
            return _BROKEN


def _render(page: Page, failure: Failure, *, is_framed: bool) -> web.Response:
    template = "failure.html" if is_framed else "failure_stage.html"
    response = page.render(template, status=failure.status, failure=failure)
    if failure.retry_after is not None:
        response.headers["Retry-After"] = str(failure.retry_after)
    return response
