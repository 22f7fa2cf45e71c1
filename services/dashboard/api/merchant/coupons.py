"""The program's coupons: how often they were used, switched off and on, archived."""

from typing import Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.clients.errors import Refused
from services.dashboard.domain import words

PAGES: Final = Pages()
_PATH: Final = "/merchant/coupons"
_ONE: Final = _PATH + "/{coupon_id}"


@PAGES.get(_PATH, "coupons.see")
async def coupons(page: Page) -> web.Response:
    """List the coupons, newest first."""
    rows, name, active = page.viewer.account.rows_per_page, page.query("name"), page.query("active")
    (listed,) = await page.ask(
        page.codes.get("/v1/coupons", limit=rows, cursor=page.query("cursor"), name=name, active=active)
    )
    return page.render("merchant/coupons.html", listed=listed, name=name, active=active)


@PAGES.get(_ONE, "coupons.see")
async def coupon(page: Page) -> web.Response:
    """Show a coupon, its terms and its limits."""
    found = await page.codes.get("/v1/coupons/{}", page.path_id("coupon_id"))
    return page.render("merchant/coupon.html", coupon=found.data)


@PAGES.post(_ONE + "/on", "coupons.change")
async def switch_on(page: Page) -> web.Response:
    """Let the coupon be redeemed again."""
    return await _switch(page, is_on=True)


@PAGES.post(_ONE + "/off", "coupons.change")
async def switch_off(page: Page) -> web.Response:
    """Refuse the coupon's codes until it is switched on."""
    return await _switch(page, is_on=False)


@PAGES.get(_ONE + "/archive", "coupons.archive")
async def ask_archive(page: Page) -> web.Response:
    """Say what ends with the coupon."""
    found = await page.codes.get("/v1/coupons/{}", page.path_id("coupon_id"))
    return page.render("merchant/archive_coupon.html", coupon=found.data)


@PAGES.post(_ONE + "/archive", "coupons.archive")
async def archive(page: Page) -> web.Response:
    """Archive the coupon with its codes."""
    coupon_id = page.path_id("coupon_id")
    try:
        await page.codes.delete("/v1/coupons/{}", coupon_id)
    except Refused as refused:
        found = await page.codes.get("/v1/coupons/{}", coupon_id)
        errors = {"": words.REFUSALS.get(refused.code, refused.detail)}
        return page.refuse("merchant/archive_coupon.html", errors, coupon=found.data)
    return page.redirect(_PATH, note="coupon_archived")


async def _switch(page: Page, *, is_on: bool) -> web.Response:
    coupon_id = page.path_id("coupon_id")
    await page.codes.patch("/v1/coupons/{}", coupon_id, body={"active": is_on})
    return page.redirect(_PATH + "/{}", coupon_id, note="coupon_on" if is_on else "coupon_off")
