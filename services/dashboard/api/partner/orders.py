"""Purchase codes: what is left, an order of more with a question before it, the orders, and cancelling one."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.clients.errors import Refused, ServiceDown
from services.dashboard.domain import words

PAGES: Final = Pages()
_PATH: Final = "/partner/orders"
_API: Final = "/api/partners/code-orders"
_FIELDS: Final = ("count", "reference", "note")
_MOST_CODES: Final = 1_000_000
# Whether it arrived is not known; the form keeps its id, so that a repeat is one.
_AGAIN: Final = " Try again: the order is sent once."
# The merchant reads another sentence, about the partner.
_INACTIVE: Final = "Your account is not active, so it cannot order. Ask your contact at the program."


@PAGES.get(_PATH, "orders.see")
async def orders(page: Page) -> web.Response:
    """Show the balance, the form of an order, and the orders, pending ones first."""
    return await _listed(page, {})


@PAGES.get(_PATH + "/new", "orders.place")
async def ask_place(page: Page) -> web.Response:
    """Say what the order is for and what follows."""
    if "count" not in page.http.query:
        return page.redirect(_PATH)
    if errors := _errors(page.query("count")):
        return await _listed(page, errors, page.http.query)
    return _question(page, page.query, {})


@PAGES.post(_PATH, "orders.place")
async def place(page: Page) -> web.Response:
    """Send the order to the merchant."""
    if errors := _errors(page.text("count")):
        return await _listed(page, errors)
    named = {name: page.text(name) for name in ("reference", "note") if page.text(name)}
    try:
        await page.codes.post(_API, body={"count": int(page.text("count")), **named}, once=True)
    except Refused as refused:
        return await _listed(page, _refusal(refused))
    except ServiceDown:
        return _question(page, page.text, {"": words.SERVICE_DOWN["codes"] + _AGAIN})
    return page.redirect(_PATH, note="order_placed")


@PAGES.post(_PATH + "/{order_id}/cancel", "orders.cancel")
async def cancel(page: Page) -> web.Response:
    """Take back an order that waits."""
    try:
        await page.codes.post(_API + "/{}/cancel", page.path_id("order_id"))
    except Refused as refused:
        return await _listed(page, _refusal(refused))
    return page.redirect(_PATH, note="order_cancelled")


def _question(page: Page, given: Callable[[str], str], errors: dict[str, str]) -> web.Response:
    wanted = {name: given(name) for name in _FIELDS}
    status = 503 if errors else 200
    count = int(wanted["count"])
    return page.render("partner/place_order.html", status=status, errors=errors, wanted=wanted, count=count)


async def _listed(page: Page, errors: dict[str, str], form: Mapping[str, str] | None = None) -> web.Response:
    state, rows = page.query("state"), page.viewer.account.rows_per_page
    me, listed = await page.ask(
        page.codes.get("/api/partners/me"),
        page.codes.get(_API, limit=rows, cursor=page.query("cursor"), state=state),
    )
    context: dict[str, Any] = {"me": me, "listed": listed, "state": state, "form": page.form if form is None else form}
    return page.render("partner/orders.html", status=422 if errors else 200, errors=errors, **context)


def _errors(count: str) -> dict[str, str]:
    is_possible = count.isascii() and count.isdecimal() and len(count) < 9 and 1 <= int(count) <= _MOST_CODES
    return {} if is_possible else {"count": f"Give a number of codes from 1 to {_MOST_CODES:,}"}


def _refusal(refused: Refused) -> dict[str, str]:
    if refused.code == "partner_inactive":
        return {"": _INACTIVE}
    at_fields = {name: " ".join(found) for name, found in refused.errors.items() if name in _FIELDS}
    return at_fields or {"": words.REFUSALS.get(refused.code, refused.detail)}
