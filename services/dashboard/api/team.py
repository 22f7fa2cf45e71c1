"""The people of a partner or a program: who they are, invite, change what they may, remove."""

from typing import Any, Final, cast, get_args

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.domain.errors import LastMember
from services.dashboard.usecases.invitations import MadeLink
from services.dashboard.usecases.visits import Actor
from shared.accounts import Grade

PAGES: Final = Pages()
ROLES: Final = ("partner", "merchant")
_LONGEST_EMAIL: Final = 254
_LAST: Final = "They are the last who may change anything. Let somebody else first"


async def team(page: Page) -> web.Response:
    """List the people and the open invitations."""
    return await _shown(page)


async def invite(page: Page) -> web.Response:
    """Invite somebody; where no mail was sent, the answer shows the link this once."""
    email, grade = page.text("email"), page.text("grade")
    errors = email_errors(email)
    if grade not in get_args(Grade):
        errors["grade"] = "Choose what they may do"
    if errors:
        return await _shown(page, errors)
    owner, actor = page.viewer.membership.owner, Actor.of(page.viewer)
    made = await page.site.use_cases.invitations.invite(email, cast(Grade, grade), owner, actor, page.visit)
    if made.is_mailed:
        return page.redirect(_path(page), note="invited")
    return await _shown(page, made=made)


async def end_invitation(page: Page) -> web.Response:
    """End an open invitation."""
    owner, actor = page.viewer.membership.owner, Actor.of(page.viewer)
    await page.site.use_cases.invitations.end(page.path_id("link_id"), owner, actor, page.visit)
    return page.redirect(_path(page), note="invitation_ended")


async def change_grade(page: Page) -> web.Response:
    """Let a person change things, or only look."""
    grade: Grade = "change" if page.text("grade") == "change" else "look"
    owner, actor = page.viewer.membership.owner, Actor.of(page.viewer)
    try:
        await page.site.use_cases.teams.set_grade(owner, page.path_id("member_id"), grade, actor, page.visit)
    except LastMember:
        return await _shown(page, {"": _LAST})
    return page.redirect(_path(page), note="grade_changed")


async def ask_removal(page: Page) -> web.Response:
    """Say what follows from removing a person."""
    member = await page.site.use_cases.teams.find(page.viewer.membership.owner, page.path_id("member_id"))
    return page.render("remove_member.html", member=member, back=_path(page))


async def remove(page: Page) -> web.Response:
    """Remove a person, who is signed out at once."""
    owner, actor = page.viewer.membership.owner, Actor.of(page.viewer)
    try:
        await page.site.use_cases.teams.remove(owner, page.path_id("member_id"), actor, page.visit)
    except LastMember:
        return await _shown(page, {"": _LAST})
    return page.redirect(_path(page), note="member_removed")


for _role in ROLES:
    PAGES.get(f"/{_role}/team", "team.see")(team)
    PAGES.post(f"/{_role}/team", "team.change")(invite)
    PAGES.post(f"/{_role}/team/invitations/{{link_id}}/end", "team.change")(end_invitation)
    PAGES.post(f"/{_role}/team/{{member_id}}/grade", "team.change")(change_grade)
    PAGES.get(f"/{_role}/team/{{member_id}}/remove", "team.change")(ask_removal)
    PAGES.post(f"/{_role}/team/{{member_id}}/remove", "team.change")(remove)


def email_errors(email: str) -> dict[str, str]:
    """Return what is wrong with an address that is invited."""
    is_right = email.count("@") == 1 and email.isprintable() and " " not in email and 3 <= len(email) <= _LONGEST_EMAIL
    return {} if is_right else {"email": "Enter an e-mail address, such as mara@northwind.example"}


async def _shown(page: Page, errors: dict[str, str] | None = None, made: MadeLink | None = None) -> web.Response:
    owner = page.viewer.membership.owner
    members = await page.site.use_cases.teams.list(owner)
    invitations = await page.site.use_cases.invitations.list(owner)
    context: dict[str, Any] = {"members": members, "invitations": invitations, "made": made, "path": _path(page)}
    return page.render("team.html", status=422 if errors else 200, errors=errors or {}, **context)


def _path(page: Page) -> str:
    return f"/{page.viewer.role}/team"
