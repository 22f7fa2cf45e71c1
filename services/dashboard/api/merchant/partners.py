"""The program's partners: their state and quota, grants with a reason, approval and suspension."""

from typing import Any, Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.clients.errors import Refused
from services.dashboard.domain import words

PAGES: Final = Pages()
_PATH: Final = "/merchant/partners"
_ONE: Final = _PATH + "/{partner_id}"
_MOVES: Final = 10
_ORDERS: Final = 5
# More than the service takes.
_MOST_DIGITS: Final = 12


@PAGES.get(_PATH, "partners.see")
async def partners(page: Page) -> web.Response:
    """List the partners, newest first."""
    rows, status, email = page.viewer.account.rows_per_page, page.query("status"), page.query("email")
    (listed,) = await page.ask(
        page.codes.get("/v1/partners", limit=rows, cursor=page.query("cursor"), status=status, email=email)
    )
    return page.render("merchant/partners.html", listed=listed, state=status, email=email)


@PAGES.get(_ONE, "partners.see")
async def partner(page: Page) -> web.Response:
    """Show a partner, its quota and the last movements of it."""
    return page.render("merchant/partner.html", **await _shown(page))


@PAGES.post(_ONE + "/approve", "partners.approve")
async def approve(page: Page) -> web.Response:
    """Allow the partner to mint."""
    partner_id = page.path_id("partner_id")
    await page.codes.post("/v1/partners/{}/approve", partner_id)
    return page.redirect(_PATH + "/{}", partner_id, note="partner_approved")


@PAGES.get(_ONE + "/suspend", "partners.suspend")
async def ask_suspend(page: Page) -> web.Response:
    """Say what a suspension stops."""
    found = await page.codes.get("/v1/partners/{}", page.path_id("partner_id"))
    return page.render("merchant/suspend_partner.html", partner=found.data)


@PAGES.post(_ONE + "/suspend", "partners.suspend")
async def suspend(page: Page) -> web.Response:
    """Stop the partner from minting."""
    partner_id = page.path_id("partner_id")
    await page.codes.post("/v1/partners/{}/suspend", partner_id, once=True)
    return page.redirect(_PATH + "/{}", partner_id, note="partner_suspended")


@PAGES.get(_ONE + "/grant", "quota.grant")
async def ask_grant(page: Page) -> web.Response:
    """Ask how many codes, and why."""
    found = await page.codes.get("/v1/partners/{}", page.path_id("partner_id"))
    return page.render("merchant/grant_quota.html", partner=found.data)


@PAGES.post(_ONE + "/grant", "quota.grant")
async def grant(page: Page) -> web.Response:
    """Grant codes, or take codes back by an adjustment."""
    partner_id = page.path_id("partner_id")
    errors, amount = _faults(page)
    if not errors:
        is_taken = page.text("kind") == "take"
        move = {"amount": -amount, "kind": "adjustment"} if is_taken else {"amount": amount, "kind": "grant"}
        try:
            body = {**move, "reason": page.text("reason")}
            await page.codes.post("/v1/partners/{}/quota", partner_id, body=body, once=True)
            return page.redirect(_PATH + "/{}", partner_id, note="quota_moved")
        except Refused as refused:
            field = next((name for name in ("amount", "reason") if name in refused.errors), "")
            errors = {field: words.REFUSALS.get(refused.code, refused.detail)}
    found = await page.codes.get("/v1/partners/{}", partner_id)
    return page.refuse("merchant/grant_quota.html", errors, partner=found.data)


def _faults(page: Page) -> tuple[dict[str, str], int]:
    """Return what is wrong with the form, and the number of codes."""
    written = page.text("amount").replace(",", "")
    amount = int(written) if written.isascii() and written.isdecimal() and len(written) <= _MOST_DIGITS else 0
    errors = {}
    if not amount:
        errors["amount"] = "Enter a whole number of codes, at least 1"
    if not page.text("reason"):
        errors["reason"] = "Say why: it stays in the ledger"
    return errors, amount


async def _shown(page: Page) -> dict[str, Any]:
    partner_id = page.path_id("partner_id")
    found = await page.codes.get("/v1/partners/{}", partner_id)
    ledger, orders = await page.ask(
        page.codes.get("/v1/partners/{}/quota/ledger", partner_id, limit=_MOVES),
        page.codes.get("/v1/code-orders", partner_id=str(partner_id), limit=_ORDERS),
    )
    return {"partner": found.data, "ledger": ledger, "orders": orders}
