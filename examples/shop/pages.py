"""The shop's pages: what a browser sends, and what it sees. Works without script; the policy admits no other origin."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import jinja2
from aiohttp import web
from yarl import URL

from .orders import CURRENCY, Details, Order
from .quote import Line

HERE = Path(__file__).parent
COOKIE: Final = "aurora_bag"
PICTURES: Final = {
    "lights": "Northern lights",
    "sail": "A sail at sea",
    "lanterns": "Lanterns",
    "city": "A city at night",
}
OCCASIONS: Final = {
    "birthday": "Birthday",
    "mother": "Mother\N{RIGHT SINGLE QUOTATION MARK}s day",
    "wedding": "Wedding",
    "thanks": "Thank you",
}
MAX_CODES, MAX_QUANTITY = 10, 9
_LIMITS: Final = {"recipient_name": 60, "email": 254, "message": 500}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self'; "
    "script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_log = logging.getLogger("shop")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _money(minor: int) -> str:
    return f"{CURRENCY} {minor // 100:,}.{minor % 100:02}"


def _clock(moment: datetime | str) -> str:
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).strftime("%H:%M:%S")


_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
)
_templates.filters |= {"money": _money, "clock": _clock}
_templates.globals |= {"pictures": PICTURES, "occasions": OCCASIONS, "max_quantity": MAX_QUANTITY}


def page(name: str, order: Order | None, *, status: int = HTTPStatus.OK, **values: Any) -> web.Response:
    """Render a page; an order that is not paid sets the cookie by which its browser is known again."""
    bag = order.details.quantity if order and order.details.is_in_bag and not order.paid_at else 0
    text = _templates.get_template(f"{name}.html").render(order=order, bag=bag, **values)
    response = web.Response(text=text, content_type="text/html", status=status)
    response.headers["Cache-Control"] = "no-store"
    return response


def problem(head: str, text: str, *, status: int, to: str = "/", link: str = "Back to the card") -> web.Response:
    """Render a page that says what went wrong and what to do."""
    return page("problem", None, status=status, head=head, text=text, to=to, link=link)


def see(to: str) -> web.Response:
    """Send the browser on, so that a reload repeats nothing."""
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": to})


def remember(response: web.StreamResponse, order: Order, url: URL) -> None:
    """Have the browser bring this order's secret with every request, and no other site's request."""
    response.set_cookie(
        COOKIE, order.bag, max_age=30 * 86400, httponly=True, samesite="Lax", secure=url.scheme == "https"
    )


def fill_in(details: Details, form: Mapping[str, Any]) -> None:
    """Take over what a form has; what it leaves out stays."""
    for name, limit in _LIMITS.items():
        if isinstance(value := form.get(name), str):
            setattr(details, name, value.replace("\0", "").strip()[:limit])
    if form.get("picture") in PICTURES:
        details.picture = str(form["picture"])
    if form.get("occasion") in OCCASIONS:
        details.occasion = str(form["occasion"])
    if str(quantity := form.get("quantity", "")).isdecimal():
        details.quantity = min(max(int(str(quantity)[:3]), 1), MAX_QUANTITY)


def faults(details: Details) -> dict[str, str]:
    """Return what is missing to print and send a card, by field."""
    found = {}
    if not details.recipient_name:
        found["recipient_name"] = "Enter the name for the card."
    user, at, host = details.email.partition("@")
    if not (user and at and "." in host.strip(".")):
        found["email"] = "Enter an e-mail address like ben@mail.example; the receipt goes there."
    return found


def added(details: Details, text: Any) -> Line | None:
    """Add a code that was typed; returns a line that says why if that cannot be."""
    code = str(text or "").replace("\0", "").strip()[:255]
    if not code or code in details.codes:
        return None
    if len(details.codes) >= MAX_CODES:
        return Line(code, "no", "is one code too many for an order.", "Remove another one to use it.")
    details.codes.append(code)
    return None


def guard(url: URL) -> Any:
    """Return the middleware around every page: one address, no foreign forms, the policy, errors as pages, the log."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/readyz":
            return await handler(request)
        response = await _answered(request, handler, url)
        response.headers.update(_HEADERS)
        # Neither the query nor a reference, which opens a receipt; no header at all.
        resource = request.match_info.route.resource
        _log.info("%s %s %s", request.method, resource.canonical if resource else "-", response.status)
        return response

    return guarded


async def _answered(request: web.Request, handler: Handler, url: URL) -> web.StreamResponse:
    if request.host != url.authority:
        # Under another name a browser would bring the cookies of whatever else listens there.
        if request.method != "GET":
            return problem("This is another address", f"The shop is at {url}.", status=HTTPStatus.MISDIRECTED_REQUEST)
        return web.Response(status=HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": str(url.join(request.rel_url))})
    is_foreign = request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}
    if request.method == "POST" and (
        is_foreign or request.headers.get("Origin", str(url.origin())) != str(url.origin())
    ):
        return problem("That came from another site", "Nothing was changed.", status=HTTPStatus.FORBIDDEN)
    try:
        return await handler(request)
    except web.HTTPException as refused:
        if refused.status < HTTPStatus.BAD_REQUEST:
            raise
        return problem("There is nothing here", "The page has moved, or never was.", status=refused.status)
    except Exception as failed:  # noqa: BLE001 - the last line of defence of a page
        _log.error("a page failed: %s", type(failed).__name__)
        text = "It is our fault. Your bag is as it was; try again in a moment."
        return problem("This page failed", text, status=HTTPStatus.INTERNAL_SERVER_ERROR)
