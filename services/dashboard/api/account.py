"""The viewer's own account: name, time zone, rows per page, address, password, sign-ins."""

from typing import Any, Final
from zoneinfo import available_timezones

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.domain.errors import PasswordRefused, PasswordWrong, TooManyTries

PAGES: Final = Pages()
ROWS: Final = ("25", "50", "100")
ZONES: Final = frozenset(available_timezones())
_LONGEST_NAME: Final = 200
_LONGEST_EMAIL: Final = 254


@PAGES.get("/account")
async def account(page: Page) -> web.Response:
    """Show the account and its sign-ins."""
    return await _shown(page, {})


@PAGES.post("/account")
async def save(page: Page) -> web.Response:
    """Store name, zone and rows per page."""
    name, zone, rows = page.text("name"), page.text("zone"), page.text("rows")
    errors = {}
    if not 1 <= len(name) <= _LONGEST_NAME:
        errors["name"] = "Enter your name, of at most 200 characters"
    if zone and zone not in ZONES:
        errors["zone"] = "Enter a time zone such as Europe/Berlin, or nothing for the program's"
    if rows not in ROWS:
        errors["rows"] = "Choose 25, 50 or 100"
    if errors:
        return await _shown(page, errors)
    await page.site.use_cases.own.save(page.viewer, name, zone or None, int(rows), page.visit)
    return page.redirect("/account", note="account_saved")


@PAGES.post("/account/password")
async def change_password(page: Page) -> web.Response:
    """Check the old password, set the new one, and end all other sign-ins."""
    errors = await _password_errors(page)
    if not errors:
        try:
            await page.site.use_cases.resets.change(page.viewer, page.form.get("new_password", ""), page.visit)
        except PasswordRefused as refused:
            errors["new_password"] = str(refused)
    if errors:
        return await _shown(page, errors)
    page.new_cookies[""] = await page.site.use_cases.sessions.renew(page.viewer, page.visit)
    return page.redirect("/account", note="password_changed")


@PAGES.post("/account/address")
async def change_address(page: Page) -> web.Response:
    """Check the password, and send a link to the new address."""
    errors, email = await _password_errors(page), page.text("email")
    if not page.site.has_mail or "@" not in email or not 3 <= len(email) <= _LONGEST_EMAIL:
        errors["email"] = "Enter an e-mail address"
    if errors:
        return await _shown(page, errors)
    await page.site.use_cases.resets.ask_address(page.viewer, email, page.visit)
    return page.redirect("/account", note="address_asked")


@PAGES.post("/account/sessions/{session_id}/end")
async def end_session(page: Page) -> web.Response:
    """End one sign-in."""
    await page.site.use_cases.sessions.end(page.viewer, page.path_id("session_id"), page.visit)
    return page.redirect("/account", note="signin_ended")


@PAGES.post("/account/sessions/end")
async def end_other_sessions(page: Page) -> web.Response:
    """End every sign-in but this one."""
    await page.site.use_cases.sessions.end_others(page.viewer, page.visit)
    return page.redirect("/account", note="signins_ended")


async def _password_errors(page: Page) -> dict[str, str]:
    """Check the password that the account has now."""
    try:
        await page.site.use_cases.sessions.check(page.viewer, page.form.get("old_password", ""), page.visit)
    except PasswordWrong:
        return {"old_password": "The password is wrong"}
    except TooManyTries:
        return {"old_password": "Too many tries; wait a minute"}
    return {}


async def _shown(page: Page, errors: dict[str, str]) -> web.Response:
    sessions = await page.site.use_cases.sessions.list(page.viewer)
    context: dict[str, Any] = {"sessions": sessions, "has_mail": page.site.has_mail}
    return page.render("account.html", status=422 if errors else 200, errors=errors, **context)
