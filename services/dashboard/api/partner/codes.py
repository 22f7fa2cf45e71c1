"""A partner's codes: the list with its filters, one code with its link and QR code, and minting one by hand."""

import re
from typing import Any, Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.clients.errors import Refused
from services.dashboard.domain import code_filters, words
from services.dashboard.domain.code_filters import CodeFilters
from services.dashboard.domain.errors import NothingThere

PAGES: Final = Pages()
_PATH: Final = "/partner/codes"
_API: Final = "/api/partners/codes"
_PICTURES: Final = {"svg": "image/svg+xml", "png": "image/png"}
# The merchant reads another sentence, about the partner.
_INACTIVE: Final = "Your account is not active, so no codes are minted. Ask your contact at the program."
# What a file may be called on every system.
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9-]")


@PAGES.get(_PATH, "codes.see")
async def codes(page: Page) -> web.Response:
    """List the partner's codes that match, newest first."""
    code, state, first, last, reference = (page.query(each) for each in ("code", "state", "from", "to", "reference"))
    filters = CodeFilters(code, state, first, last, reference, page.zone)
    asked: dict[str, Any] = {"filters": filters, "states": code_filters.STATES, "form": page.http.query}
    if filters.errors:
        return page.refuse("partner/codes.html", filters.errors, listed=None, quota=None, **asked)
    rows = page.viewer.account.rows_per_page
    listed, quota = await page.ask(
        page.codes.get(_API, limit=rows, cursor=page.query("cursor"), **filters.query),
        page.codes.get("/api/partners/quota"),
    )
    return page.render("partner/codes.html", listed=listed, quota=quota, **asked)


@PAGES.get(_PATH + "/new", "codes.mint")
async def ask_mint(page: Page) -> web.Response:
    """Show the form that mints one code."""
    return await _form(page, {})


@PAGES.post(_PATH, "codes.mint")
async def mint(page: Page) -> web.Response:
    """Mint one code."""
    reference = page.text("reference")
    body = {"reference": reference} if reference else {}
    try:
        minted = await page.codes.post(_API + "/generate", body=body, once=True)
    except Refused as refused:
        if refused.code == "partner_inactive":
            return await _form(page, {"": _INACTIVE})
        if found := refused.errors.get("reference"):
            return await _form(page, {"reference": " ".join(found)})
        return await _form(page, {"": words.REFUSALS.get(refused.code, refused.detail)})
    return page.redirect(_PATH + "/{}", minted.data["code"], note="minted")


@PAGES.get(_PATH + "/{code}", "codes.see")
async def one(page: Page) -> web.Response:
    """Show one code with its link."""
    answer = await page.codes.get(_API + "/{}", page.path("code"))
    return page.render("partner/code.html", code=answer.data)


@PAGES.get(_PATH + "/{code}/qr", "codes.see")
async def picture(page: Page) -> web.Response:
    """Send the code's link as a QR code, to be stored or printed."""
    form = page.query("format") or "svg"
    if form not in _PICTURES:
        raise NothingThere
    drawn = await page.codes.get(_API + "/{}/qr", page.path("code"), format=form)
    name = _NOT_IN_NAMES.sub("-", page.path("code"))
    return web.Response(
        body=drawn.body,
        content_type=_PICTURES[form],
        headers={"Content-Disposition": f'attachment; filename="{name}.{form}"'},
    )


async def _form(page: Page, errors: dict[str, str]) -> web.Response:
    (quota,) = await page.ask(page.codes.get("/api/partners/quota"))
    return page.render("partner/mint.html", status=422 if errors else 200, errors=errors, quota=quota)
