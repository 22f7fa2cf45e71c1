"""Coming and going: the start, signing in and out, switching to another membership, the theme, and help."""

import uuid
from typing import Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.api.security import is_path
from services.dashboard.domain.errors import NothingThere, SignInRefused, TooManyTries

PAGES: Final = Pages()
_LONGEST: Final = 254


@PAGES.get("/")
async def start(page: Page) -> web.Response:
    """Go to the overview of the role."""
    return page.redirect(page.viewer.membership.home)


@PAGES.get("/sign-in", is_public=True)
async def sign_in_page(page: Page) -> web.Response:
    """Show the form, or go on if the browser is signed in."""
    target = _next(page, page.query("next"))
    if page.is_signed_in:
        return page.redirect(target or "/")
    return page.render("sign_in.html", refusal="", next=target)


@PAGES.post("/sign-in", is_public=True)
async def sign_in(page: Page) -> web.Response:
    """Check e-mail and password, and begin a session under a new secret."""
    target = _next(page, page.text("next"))
    email, password = page.text("email")[:_LONGEST], page.form.get("password", "")
    device = page.http.cookies.get(page.site.origin.cookie("device"))
    try:
        done = await page.site.use_cases.sign_in(email, password, page.visit, device)
    except SignInRefused:
        return page.refuse("sign_in.html", {"email": ""}, refusal="refused", next=target)
    except TooManyTries as refused:
        response = page.refuse("sign_in.html", {"email": ""}, refusal="wait", next=target, until=refused.until)
        response.set_status(429)
        response.headers["Retry-After"] = str(max(1, int((refused.until - page.now).total_seconds())))
        return response
    page.new_cookies |= {"": done.session_token, "device": done.device_token, "pre": None}
    if page.is_signed_in:
        await page.site.use_cases.sessions.sign_out(page.viewer, page.visit)
    return page.redirect(target or done.membership.home)


@PAGES.post("/sign-out")
async def sign_out(page: Page) -> web.Response:
    """End the session, and have the browser forget what it kept of our pages."""
    await page.site.use_cases.sessions.sign_out(page.viewer, page.visit)
    page.new_cookies[""] = None
    response = page.redirect("/sign-in", note="signed_out")
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


@PAGES.post("/switch")
async def switch(page: Page) -> web.Response:
    """Act by another membership of the account from now on."""
    try:
        wanted = uuid.UUID(page.text("membership"))
    except ValueError:
        raise NothingThere from None
    secret, membership = await page.site.use_cases.sessions.switch(page.viewer, wanted, page.visit)
    page.new_cookies[""] = secret
    return page.redirect(membership.home)


@PAGES.post("/theme", is_public=True)
async def theme(page: Page) -> web.Response:
    """Keep the theme in the browser, so that the server can name it in the first line of every page."""
    wanted = page.text("theme")
    page.new_cookies["theme"] = wanted if wanted in {"light", "dark"} else None
    target = page.text("next")
    return page.redirect(target if is_path(target) else "/")


@PAGES.get("/help", is_public=True)
async def show_help(page: Page) -> web.Response:
    """Say whom to ask."""
    return page.render("help.html")


def _next(page: Page, target: str) -> str:
    """Return where to go after signing in, if that is the path of one of our pages; else nothing."""
    if not is_path(target) or not page.site.has_page(target.partition("?")[0]):
        return ""
    return target
