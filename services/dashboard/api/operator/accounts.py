"""All accounts: who, what they may, last seen; invite, reset, end sign-ins, switch off and on."""

import uuid
from datetime import datetime
from typing import Any, Final, cast, get_args

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.api.team import email_errors
from services.dashboard.domain.accounts import Owner
from services.dashboard.domain.errors import OwnerUnknown
from services.dashboard.usecases.invitations import MadeLink
from services.dashboard.usecases.visits import Actor
from shared.accounts import Grade, Role
from shared.known_ids import LAST_ID
from shared.times import LATEST, parse_time

PAGES: Final = Pages()


@PAGES.get("/operator/accounts", "accounts.see")
async def accounts(page: Page) -> web.Response:
    """List accounts, newest first."""
    return await _shown(page)


@PAGES.post("/operator/accounts", "accounts.change")
async def invite(page: Page) -> web.Response:
    """Invite somebody to a program, a partner, or as an operator; show the link if it was not mailed."""
    email, role, grade = page.text("email"), page.text("role"), page.text("grade")
    errors = email_errors(email)
    if role not in get_args(Role) or grade not in get_args(Grade):
        return await _shown(page, {**errors, "role": "Choose a role"})
    program_id, partner_id = _id(page.text("program_id")), _id(page.text("partner_id"))
    if role != "operator" and program_id is None:
        errors["program_id"] = "Enter the id of the program"
    if role == "partner" and partner_id is None:
        errors["partner_id"] = "Enter the id of the partner"
    if errors:
        return await _shown(page, errors)
    wanted = Owner(
        cast(Role, role),
        None if role == "operator" else program_id,
        partner_id if role == "partner" else None,
    )
    try:
        owner = await page.site.use_cases.accounts.find_owner(wanted, page.visit.request_id)
    except OwnerUnknown:
        return await _shown(page, {"program_id": "There is no such program, or no such partner of it"})
    actor = Actor.of(page.viewer)
    made = await page.site.use_cases.invitations.invite(email, cast(Grade, grade), owner, actor, page.visit)
    if made.is_mailed:
        return page.redirect("/operator/accounts", note="invited")
    return await _shown(page, made=made)


@PAGES.get("/operator/accounts/{account_id}", "accounts.see")
async def account(page: Page) -> web.Response:
    """Show an account and what can be done about it."""
    found = await page.site.use_cases.accounts.find(page.path_id("account_id"))
    return page.render("operator/account.html", found=found, made=None)


@PAGES.post("/operator/accounts/{account_id}/reset", "accounts.change")
async def reset(page: Page) -> web.Response:
    """Make a link to set a new password; show it if it was not mailed."""
    account_id = page.path_id("account_id")
    made = await page.site.use_cases.resets.make(account_id, Actor.of(page.viewer), page.visit, is_mailed=True)
    if made.is_mailed:
        return page.redirect("/operator/accounts/{}", account_id, note="reset_sent")
    found = await page.site.use_cases.accounts.find(account_id)
    return page.render("operator/account.html", found=found, made=made)


@PAGES.post("/operator/accounts/{account_id}/sign-out", "accounts.change")
async def end_sessions(page: Page) -> web.Response:
    """End the account's sign-ins."""
    account_id = page.path_id("account_id")
    await page.site.use_cases.accounts.end_sessions(account_id, Actor.of(page.viewer), page.visit)
    return page.redirect("/operator/accounts/{}", account_id, note="accounts_signed_out")


@PAGES.get("/operator/accounts/{account_id}/disable", "accounts.change")
async def ask_disabling(page: Page) -> web.Response:
    """Say what follows from switching an account off."""
    found = await page.site.use_cases.accounts.find(page.path_id("account_id"))
    return page.render("operator/disable_account.html", found=found)


@PAGES.post("/operator/accounts/{account_id}/disable", "accounts.change")
async def disable(page: Page) -> web.Response:
    """Switch the account off."""
    account_id = page.path_id("account_id")
    await page.site.use_cases.accounts.disable(account_id, Actor.of(page.viewer), page.visit)
    return page.redirect("/operator/accounts/{}", account_id, note="account_disabled")


@PAGES.post("/operator/accounts/{account_id}/enable", "accounts.change")
async def enable(page: Page) -> web.Response:
    """Switch the account on again."""
    account_id = page.path_id("account_id")
    await page.site.use_cases.accounts.enable(account_id, Actor.of(page.viewer), page.visit)
    return page.redirect("/operator/accounts/{}", account_id, note="account_enabled")


async def _shown(page: Page, errors: dict[str, str] | None = None, made: MadeLink | None = None) -> web.Response:
    rows = page.viewer.account.rows_per_page
    found = await page.site.use_cases.accounts.list(_before(page.query("cursor")), rows + 1)
    shown = found[:rows]
    last = shown[-1].account if len(found) > rows else None
    cursor = f"{last.created_at.isoformat()}_{last.id}" if last else None
    context: dict[str, Any] = {"accounts": shown, "made": made, "next_cursor": cursor}
    return page.render("operator/accounts.html", status=422 if errors else 200, errors=errors or {}, **context)


def _before(cursor: str) -> tuple[datetime, uuid.UUID]:
    created, _, last = cursor.partition("_")
    moment, last_id = parse_time(created), _id(last)
    return (LATEST, LAST_ID) if moment is None or last_id is None else (moment, last_id)


def _id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
