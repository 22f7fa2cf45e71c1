"""Pages behind links from mails: invitations, new passwords, new addresses. A GET shows, only a POST takes."""

from typing import Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.domain.errors import (
    AddressTaken,
    LinkInvalid,
    PasswordRefused,
    PasswordWrong,
    TooManyTries,
)

PAGES: Final = Pages()
_LONGEST_NAME: Final = 200
_LONGEST_EMAIL: Final = 254
_GONE: Final = 410


@PAGES.get("/invitations/{token}", is_public=True, hides_referrer=True)
async def show_invitation(page: Page) -> web.Response:
    """Say who invites, and as what."""
    try:
        link, is_known = await page.site.use_cases.invitations.find(page.path("token"))
    except LinkInvalid:
        return _gone(page)
    return page.render("invitation.html", link=link, is_known=is_known)


@PAGES.post("/invitations/{token}", is_public=True, hides_referrer=True)
async def accept_invitation(page: Page) -> web.Response:
    """Create the account, or let the one of that address join."""
    invitations, token = page.site.use_cases.invitations, page.path("token")
    name, password = page.text("name")[:_LONGEST_NAME], page.form.get("password", "")
    errors = {}
    try:
        link, is_known = await invitations.find(token)
        if not is_known and not name:
            errors["name"] = "Enter your name"
        if not errors:
            await invitations.accept(token, name, password, page.visit)
            return page.redirect("/sign-in", note="joined")
    except (LinkInvalid, AddressTaken):
        return _gone(page)
    except PasswordRefused as refused:
        errors["password"] = str(refused)
    except PasswordWrong:
        errors |= {"password": "The password is not that of your account"}
    return page.refuse("invitation.html", errors, link=link, is_known=is_known)


@PAGES.get("/reset", is_public=True)
async def show_reset(page: Page) -> web.Response:
    """Ask for the address, or say whom to ask where no mails are sent."""
    return page.render("reset.html", has_mail=page.site.has_mail, is_done=False)


@PAGES.post("/reset", is_public=True)
async def ask_reset(page: Page) -> web.Response:
    """Answer the same, whether or not the address has an account."""
    try:
        await page.site.use_cases.resets.ask(page.text("email")[:_LONGEST_EMAIL], page.visit)
    except TooManyTries as refused:
        response = page.render("reset.html", status=429, has_mail=True, is_done=False, until=refused.until)
        response.headers["Retry-After"] = str(max(1, int((refused.until - page.now).total_seconds())))
        return response
    return page.render("reset.html", has_mail=page.site.has_mail, is_done=True)


@PAGES.get("/resets/{token}", is_public=True, hides_referrer=True)
async def show_new_password(page: Page) -> web.Response:
    """Ask for the new password."""
    try:
        link = await page.site.use_cases.resets.find(page.path("token"))
    except LinkInvalid:
        return _gone(page)
    return page.render("new_password.html", link=link)


@PAGES.post("/resets/{token}", is_public=True, hides_referrer=True)
async def set_new_password(page: Page) -> web.Response:
    """Set the new password; nobody is signed in by that."""
    resets, token = page.site.use_cases.resets, page.path("token")
    try:
        link = await resets.find(token)
        await resets.take(token, page.form.get("password", ""), page.visit)
    except LinkInvalid:
        return _gone(page)
    except PasswordRefused as refused:
        return page.refuse("new_password.html", {"password": str(refused)}, link=link)
    page.new_cookies[""] = None
    return page.redirect("/sign-in", note="password_set")


@PAGES.get("/addresses/{token}", is_public=True, hides_referrer=True)
async def show_address(page: Page) -> web.Response:
    """Ask whether this is the new address."""
    try:
        link = await page.site.use_cases.resets.find(page.path("token"), "address")
    except LinkInvalid:
        return _gone(page)
    return page.render("new_address.html", link=link)


@PAGES.post("/addresses/{token}", is_public=True, hides_referrer=True)
async def take_address(page: Page) -> web.Response:
    """Give the account its new address."""
    try:
        await page.site.use_cases.resets.take_address(page.path("token"), page.visit)
    except (LinkInvalid, AddressTaken):
        return _gone(page)
    return page.redirect("/sign-in", note="address_changed")


def _gone(page: Page) -> web.Response:
    return page.render("link_gone.html", status=_GONE)
