"""People of a team: nobody touches another team's, and somebody who may change things stays."""

import asyncio
import re
import uuid

from tests.services.dashboard.conftest import PASSWORD, PROGRAM, Dashboard

OTHER = uuid.uuid4()


async def _members(dashboard: Dashboard) -> dict[str, str]:
    async with dashboard.pool.connection() as connection:
        rows = await connection.fetch("SELECT m.id, a.email FROM memberships m JOIN accounts a ON a.id = m.account_id")
    return {row["email"]: str(row["id"]) for row in rows}


async def test_a_team_sees_its_own_people_only(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    await dashboard.account("colleague@x.example")
    await dashboard.account("partner@x.example", role="partner")
    await dashboard.account("foreign@x.example", program_id=OTHER)
    page = (await browser.get("/merchant/team")).text
    assert "colleague@x.example" in page
    assert "partner@x.example" not in page
    assert "foreign@x.example" not in page


async def test_people_of_others_are_nothing(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    await dashboard.account("foreign@x.example", program_id=OTHER)
    foreign = (await _members(dashboard))["foreign@x.example"]
    for path in (f"/merchant/team/{foreign}/remove", f"/merchant/team/{uuid.uuid4()}/remove"):
        assert (await browser.get(path)).status == 404
        assert (await browser.post(path)).status == 404
    assert (await browser.post(f"/merchant/team/{foreign}/grade", {"grade": "look"})).status == 404
    assert await dashboard.count("memberships") == 2


async def test_whom_one_removes_is_out_at_once(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    colleague = await dashboard.signed_in("colleague@x.example")
    path = f"/merchant/team/{(await _members(dashboard))['colleague@x.example']}/remove"
    assert "is signed out at once" in (await browser.get(path)).text
    assert (await browser.post(path)).location == "/merchant/team?note=member_removed"
    assert (await colleague.get("/merchant")).status == 303
    assert (await dashboard.browser().sign_in("colleague@x.example")).status == 422


async def test_another_grade_takes_effect_at_once(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    colleague = await dashboard.signed_in("colleague@x.example")
    member = (await _members(dashboard))["colleague@x.example"]
    assert (await browser.post(f"/merchant/team/{member}/grade", {"grade": "look"})).status == 303
    assert (await colleague.get("/merchant")).status == 303
    await colleague.sign_in("colleague@x.example")
    page = await colleague.get("/merchant/team")
    assert "Invite somebody" not in page.text
    refused = await colleague.post("/merchant/team", {"email": "x@x.example", "grade": "look"})
    assert refused.status == 403
    assert "may look, not change" in refused.text


async def test_two_who_remove_each_other_leave_one_who_may_change(dashboard: Dashboard) -> None:
    """Each alone may go; checked one by one, both would be gone."""
    first = await dashboard.signed_in("first@x.example")
    second = await dashboard.signed_in("second@x.example")
    members = await _members(dashboard)
    replies = await asyncio.gather(
        first.post(f"/merchant/team/{members['second@x.example']}/remove"),
        second.post(f"/merchant/team/{members['first@x.example']}/remove"),
    )
    assert sum(reply.status == 303 for reply in replies) >= 1
    assert await dashboard.count("memberships", f"program_id = '{PROGRAM}' AND grade = 'change'") == 1


async def test_the_last_who_may_change_keeps_that(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    own = (await _members(dashboard))["mara@northwind.example"]
    reply = await browser.post(f"/merchant/team/{own}/grade", {"grade": "look"})
    assert reply.status == 422
    assert "the last who may change" in reply.text


async def test_one_s_own_account_ends_other_sign_ins(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    other = dashboard.browser()
    await other.sign_in("mara@northwind.example")
    page = (await browser.get("/account")).text
    [end] = set(re.findall(r"/account/sessions/[\w-]{36}/end", page))
    assert (await browser.post(end)).status == 303
    assert (await other.get("/account")).status == 303
    assert (await browser.get("/account")).status == 200
    stranger = await dashboard.signed_in("stranger@x.example")
    assert (await stranger.post(end)).status == 404


async def test_a_changed_password_ends_all_other_sign_ins(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    other = dashboard.browser()
    await other.sign_in("mara@northwind.example")
    form = {"old_password": "wrong password", "new_password": "a new long password"}
    assert (await browser.post("/account/password", form)).status == 422
    before = dict(browser.cookies)
    assert (await browser.post("/account/password", {**form, "old_password": PASSWORD})).status == 303
    assert (await other.get("/account")).status == 303
    assert (await browser.get("/account")).status == 200
    assert before != browser.cookies


async def test_hostile_names_are_text(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    name = '<img src=x onerror=alert(1)>\u202e"'
    assert (await browser.post("/account", {"name": name, "zone": "", "rows": "50"})).status == 303
    page = (await browser.get("/merchant/team")).text
    assert "<img" not in page
    assert "\u202e" not in page.split("<main", 1)[1]
