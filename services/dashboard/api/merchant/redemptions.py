"""The program's redemptions, with customers masked, and their voids."""

from typing import Any, Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.clients.errors import NotThere, Refused
from services.dashboard.domain import words

PAGES: Final = Pages()
_PATH: Final = "/merchant/redemptions"
_ONE: Final = _PATH + "/{redemption_id}"
_FILTERS: Final = ("code", "order_ref", "status")


@PAGES.get(_PATH, "redemptions.see")
async def redemptions(page: Page) -> web.Response:
    """List the redemptions, latest first."""
    filters = {name: page.query(name) for name in _FILTERS}
    rows = page.viewer.account.rows_per_page
    (listed,) = await page.ask(
        page.redemption.get("/v1/redemptions", limit=rows, cursor=page.query("cursor"), **filters)
    )
    return page.render("merchant/redemptions.html", listed=listed, filters=filters)


@PAGES.get(_ONE + "/void", "redemptions.void")
async def ask_void(page: Page) -> web.Response:
    """Say what a void takes back, and whether the use returns."""
    return page.render("merchant/void_redemption.html", **await _asked(page))


@PAGES.post(_ONE + "/void", "redemptions.void")
async def void(page: Page) -> web.Response:
    """Take the redemption back."""
    given = {"reason": page.text("reason")} if page.text("reason") else {}
    try:
        await page.redemption.post("/v1/redemptions/{}/void", page.path_id("redemption_id"), body=given, once=True)
    except Refused as refused:
        field = "reason" if "reason" in refused.errors else ""
        errors = {field: words.REFUSALS.get(refused.code, refused.detail)}
        return page.refuse("merchant/void_redemption.html", errors, **await _asked(page))
    return page.redirect(_PATH, note="redemption_voided")


async def _asked(page: Page) -> dict[str, Any]:
    found = (await page.redemption.get("/v1/redemptions/{}", page.path_id("redemption_id"))).data
    try:
        (coupon,) = await page.ask(page.codes.get("/v1/coupons/{}", found["coupon_id"]))
    except NotThere:
        coupon = None
    policy = "" if coupon is None or coupon.is_missing else coupon.data["release_policy"]
    return {"redemption": found, "policy": policy}
