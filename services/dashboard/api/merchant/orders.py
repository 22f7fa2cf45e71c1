"""The partners' orders of codes: pending ones first, approved with the line it makes, refused with a reason."""

from typing import Any, Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.clients.errors import NotThere, Refused
from services.dashboard.domain import words

PAGES: Final = Pages()
_PATH: Final = "/merchant/orders"
_ONE: Final = _PATH + "/{order_id}"
_MOVES: Final = 5
# As many partners as one answer has: their names are in the list of orders.
_NAMED: Final = 250


@PAGES.get(_PATH, "orders.see")
async def orders(page: Page) -> web.Response:
    """List the orders, pending ones first."""
    rows, state = page.viewer.account.rows_per_page, page.query("state")
    listed, partners = await page.ask(
        page.codes.get("/v1/code-orders", limit=rows, cursor=page.query("cursor"), state=state),
        page.codes.get("/v1/partners", limit=_NAMED),
    )
    names = {} if partners.is_missing else {each["id"]: each["name"] for each in partners.data}
    return page.render("merchant/orders.html", listed=listed, names=names, state=state)


@PAGES.get(_ONE, "orders.see")
async def order(page: Page) -> web.Response:
    """Show an order beside its partner's quota, and what an approval would add."""
    return page.render("merchant/order.html", **await _shown(page))


@PAGES.post(_ONE + "/approve", "orders.decide")
async def approve(page: Page) -> web.Response:
    """Grant the codes."""
    order_id = page.path_id("order_id")
    try:
        await page.codes.post("/v1/code-orders/{}/approve", order_id, once=True)
    except Refused as refused:
        errors = {"": words.REFUSALS.get(refused.code, refused.detail)}
        return page.refuse("merchant/order.html", errors, **await _shown(page))
    return page.redirect(_PATH + "/{}", order_id, note="order_approved")


@PAGES.get(_ONE + "/refuse", "orders.decide")
async def ask_refuse(page: Page) -> web.Response:
    """Ask for the reason that the partner reads."""
    return page.render("merchant/refuse_order.html", **await _shown(page))


@PAGES.post(_ONE + "/refuse", "orders.decide")
async def refuse(page: Page) -> web.Response:
    """Refuse the order."""
    order_id, reason = page.path_id("order_id"), page.text("reason")
    if not reason:
        errors = {"reason": "Say why: the partner reads it"}
        return page.refuse("merchant/refuse_order.html", errors, **await _shown(page))
    try:
        await page.codes.post("/v1/code-orders/{}/refuse", order_id, body={"reason": reason}, once=True)
    except Refused as refused:
        field = "reason" if "reason" in refused.errors else ""
        errors = {field: words.REFUSALS.get(refused.code, refused.detail)}
        return page.refuse("merchant/refuse_order.html", errors, **await _shown(page))
    return page.redirect(_PATH + "/{}", order_id, note="order_refused")


async def _shown(page: Page) -> dict[str, Any]:
    found = (await page.codes.get("/v1/code-orders/{}", page.path_id("order_id"))).data
    try:
        partner, ledger = await page.ask(
            page.codes.get("/v1/partners/{}", found["partner_id"]),
            page.codes.get("/v1/partners/{}/quota/ledger", found["partner_id"], limit=_MOVES),
        )
    except NotThere:
        # The partner is archived; its orders stay.
        partner = ledger = None
    return {"order": found, "partner": partner, "ledger": ledger}
