"""Links give access once, to whom they were sent, for as long as they say; and tell nobody who has an account."""

import asyncio
import re

from services.dashboard.usecases import invitations, resets
from tests.services.dashboard.conftest import PASSWORD, Dashboard, HeldClock

NEW = "a new long password"
_LINK = re.compile(r"/(?:invitations|resets|addresses)/[\w-]{43}")


def link_in(text: str) -> str:
    found = _LINK.search(text)
    assert found is not None
    return found[0]


async def invited(dashboard: Dashboard, email: str = "jo@x.example") -> str:
    """Return the link that the inviting page shows."""
    inviting = await dashboard.signed_in(f"by-{email}")
    reply = await inviting.post("/merchant/team", {"email": email, "grade": "change"})
    assert reply.status == 200
    assert "Shown this once" in reply.text
    again = await inviting.get("/merchant/team")
    assert email in again.text
    assert not _LINK.search(again.text)
    return link_in(reply.text)


async def test_an_invitation_makes_an_account_once(dashboard: Dashboard) -> None:
    link = await invited(dashboard)
    browser = dashboard.browser()
    for _ in range(2):
        assert "jo@x.example" in (await browser.get(link)).text
    reply = await browser.post(link, {"name": "Jo", "password": NEW})
    assert reply.location == "/sign-in?note=joined"
    assert (await browser.get(link)).status == 410
    assert (await browser.post(link, {"name": "Jo", "password": NEW})).status == 410
    assert (await browser.sign_in("JO@x.example", NEW)).location == "/merchant"


async def test_an_invitation_taken_twice_at_once_makes_one_account(dashboard: Dashboard) -> None:
    link = await invited(dashboard)
    browsers = [dashboard.browser() for _ in range(6)]
    for browser in browsers:
        await browser.get(link)
    form = {"name": "Jo", "password": NEW}
    replies = await asyncio.gather(*(browser.post(link, form) for browser in browsers))
    assert sorted(reply.status for reply in replies) == [303] + [410] * 5
    assert await dashboard.count("accounts", "email_key = 'jo@x.example'") == 1


async def test_an_invitation_ends_with_its_time_with_another_and_by_hand(
    dashboard: Dashboard, clock: HeldClock
) -> None:
    inviting = await dashboard.signed_in()
    form = {"email": "jo@x.example", "grade": "look"}
    first = link_in((await inviting.post("/merchant/team", form)).text)
    second = link_in((await inviting.post("/merchant/team", form)).text)
    assert (await dashboard.browser().get(first)).status == 410
    assert (await dashboard.browser().get(second)).status == 200
    page = (await inviting.get("/merchant/team")).text
    [end] = set(re.findall(r"/merchant/team/invitations/[\w-]{36}/end", page))
    assert (await inviting.post(end)).status == 303
    assert (await dashboard.browser().get(second)).status == 410
    third = link_in((await inviting.post("/merchant/team", form)).text)
    clock.now += invitations.LIFE
    assert (await dashboard.browser().get(third)).status == 410


async def test_an_account_joins_another_team_by_its_own_password(dashboard: Dashboard) -> None:
    """The link without the password of the account gives nothing."""
    await dashboard.account("jo@x.example", role="partner")
    link = await invited(dashboard)
    browser = dashboard.browser()
    await browser.get(link)
    assert (await browser.post(link, {"password": "not the password"})).status == 422
    assert (await browser.post(link, {"password": PASSWORD})).status == 303
    await browser.sign_in("jo@x.example")
    page = (await browser.get("/account")).text
    assert "Northwind Gifts" in page
    assert "Aurora Cards" in page
    [other] = set(re.findall(r'name="membership" value="([\w-]{36})"', page))
    before = dict(browser.cookies)
    switched = await browser.post("/switch", {"membership": other})
    assert switched.location == "/merchant"
    # Other rights, another secret.
    old = dashboard.browser()
    old.cookies = before
    assert (await old.get("/account")).status == 303


async def test_nobody_switches_to_a_membership_of_somebody_else(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    await dashboard.account("other@x.example", role="operator")
    async with dashboard.pool.connection() as connection:
        foreign = await connection.fetchval("SELECT id FROM memberships WHERE role = 'operator'")
    assert (await browser.post("/switch", {"membership": str(foreign)})).status == 404
    assert (await browser.post("/switch", {"membership": "x"})).status == 404


async def test_weak_passwords_are_refused_with_the_form_kept(dashboard: Dashboard) -> None:
    link = await invited(dashboard)
    browser = dashboard.browser()
    await browser.get(link)
    for password in ("short", "x" * 129, "aaaaaaaaaaaaaa", "q1w2e3r4t5y6"):
        reply = await browser.post(link, {"name": "Jo & Co", "password": password})
        assert reply.status == 422
        assert "<title>Error:" in reply.text
        assert 'value="Jo &amp; Co"' in reply.text
        assert password not in reply.text or password == "short"


async def test_a_reset_answers_the_same_whether_the_account_exists(mailing: Dashboard) -> None:
    await mailing.account("jo@x.example")
    pages = set()
    for email in ("jo@x.example", "nobody@x.example"):
        browser = mailing.browser()
        await browser.get("/reset")
        reply = await browser.post("/reset", {"email": email})
        pages.add((reply.status, re.sub(r'value="[0-9a-f]{64}"', "", reply.text)))
    assert len(pages) == 1
    assert [mail.to for mail in mailing.mails] == ["jo@x.example"]


async def test_a_reset_sets_the_password_once_ends_every_session_and_writes_to_the_owner(mailing: Dashboard) -> None:
    signed_in = await mailing.signed_in("jo@x.example")
    browser = mailing.browser()
    await browser.get("/reset")
    await browser.post("/reset", {"email": "JO@x.example"})
    link = link_in(mailing.mails[0].text)
    assert (await browser.get(link)).status == 200
    reply = await browser.post(link, {"password": NEW})
    assert reply.location == "/sign-in?note=password_set"
    assert (await signed_in.get("/account")).status == 303
    assert (await browser.post(link, {"password": NEW})).status == 410
    assert mailing.mails[1].subject == "Your password was changed"
    # Nobody is signed in by a link.
    assert (await browser.get("/account")).status == 303
    assert (await browser.sign_in("jo@x.example")).status == 422
    assert (await browser.sign_in("jo@x.example", NEW)).status == 303


async def test_a_reset_ends_with_its_time_and_with_another(mailing: Dashboard, clock: HeldClock) -> None:
    await mailing.account("jo@x.example")
    browser = mailing.browser()
    for _ in range(2):
        await browser.get("/reset")
        await browser.post("/reset", {"email": "jo@x.example"})
    first, second = (link_in(mail.text) for mail in mailing.mails)
    assert (await browser.get(first)).status == 410
    assert (await browser.get(second)).status == 200
    clock.now += resets.LIFE
    assert (await browser.get(second)).status == 410


async def test_nobody_is_flooded_with_resets(mailing: Dashboard) -> None:
    await mailing.account("jo@x.example")
    browser = mailing.browser()
    statuses = []
    for _ in range(6):
        await browser.get("/reset")
        statuses.append((await browser.post("/reset", {"email": "jo@x.example"})).status)
    assert statuses == [200, 200, 200, 429, 429, 429]
    assert len(mailing.mails) == 3


async def test_without_mails_the_page_says_whom_to_ask(dashboard: Dashboard) -> None:
    assert "No mails are sent from here" in (await dashboard.browser().get("/reset")).text


async def test_an_invitation_is_mailed_where_mails_are_sent_and_not_shown(mailing: Dashboard) -> None:
    inviting = await mailing.signed_in()
    reply = await inviting.post("/merchant/team", {"email": "jo@x.example", "grade": "look"})
    assert reply.location == "/merchant/team?note=invited"
    [mail] = mailing.mails
    assert mail.to == "jo@x.example"
    assert (await mailing.browser().get(link_in(mail.text))).status == 200


async def test_a_new_address_is_confirmed_by_a_link_to_it(mailing: Dashboard) -> None:
    browser = await mailing.signed_in("jo@x.example")
    wrong = await browser.post("/account/address", {"email": "new@x.example", "old_password": "wrong password"})
    assert wrong.status == 422
    assert not mailing.mails
    await browser.post("/account/address", {"email": "new@x.example", "old_password": PASSWORD})
    assert mailing.mails[0].to == "new@x.example"
    link = link_in(mailing.mails[0].text)
    await browser.get(link)
    assert (await browser.post(link)).status == 303
    assert (await mailing.browser().sign_in("new@x.example")).status == 303
    assert mailing.mails[1].to == "jo@x.example"


async def test_secrets_of_links_are_stored_nowhere(mailing: Dashboard) -> None:
    link = await _mailed(mailing)
    async with mailing.pool.connection() as connection:
        rows = [str(dict(row)) for row in await connection.fetch("SELECT * FROM links")]
        rows += [str(dict(row)) for row in await connection.fetch("SELECT * FROM activity")]
    assert rows
    assert not any(link.rpartition("/")[2] in row for row in rows)


async def _mailed(mailing: Dashboard) -> str:
    inviting = await mailing.signed_in()
    await inviting.post("/merchant/team", {"email": "jo@x.example", "grade": "look"})
    return link_in(mailing.mails[0].text)
