"""What is destructive asks for the password, if it was given a while ago, and then goes on with the form as it was."""

import pytest
from aiohttp import web

from services.dashboard import app
from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.api.routes import PAGES
from tests.databases import Database
from tests.services.dashboard.conftest import PASSWORD, HeldClock, running_dashboard

FORM = {"typed_name": "Aurora <Cards>", "form_id": "0" * 32}


async def test_the_password_is_asked_for_and_the_form_goes_on(
    database: Database, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody at an unlocked desk removes what cannot be brought back, and nobody fills in a form twice."""
    done: list[tuple[str, str]] = []
    pages = Pages()

    @pages.post("/merchant/danger", "partners.archive", is_fresh=True)
    async def danger(page: Page) -> web.Response:
        done.append((page.text("typed_name"), page.form_id))
        return page.redirect("/merchant")

    monkeypatch.setattr(app, "PAGES", (*PAGES, *pages.all))
    async with running_dashboard(database, clock) as dashboard:
        browser = await dashboard.signed_in()
        assert (await browser.post("/merchant/danger", FORM)).status == 303
        assert done.pop() == (FORM["typed_name"], FORM["form_id"])
        clock.advance(minutes=11)
        asked = await browser.post("/merchant/danger", FORM)
        assert asked.status == 200
        assert "Confirm with your password" in asked.text
        assert 'name="typed_name" value="Aurora &lt;Cards&gt;"' in asked.text
        wrong = await browser.post("/merchant/danger", {**FORM, "password": "wrong password"})
        assert wrong.status == 422
        assert "The password is wrong" in wrong.text
        assert done == []
        before = dict(browser.cookies)
        right = await browser.post("/merchant/danger", {**FORM, "password": PASSWORD})
        assert right.location == "/merchant"
        assert done == [(FORM["typed_name"], FORM["form_id"])]
        # Other rights, another secret; and for ten minutes nobody is asked again.
        old = dashboard.browser()
        old.cookies = before
        assert (await old.get("/account")).status == 303
        await browser.get("/account")
        assert (await browser.post("/merchant/danger", FORM)).status == 303


async def test_guessing_there_is_throttled_like_signing_in(
    database: Database, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = Pages()

    @pages.post("/merchant/danger", "partners.archive", is_fresh=True)
    async def danger(page: Page) -> web.Response:
        return page.redirect("/merchant")

    monkeypatch.setattr(app, "PAGES", (*PAGES, *pages.all))
    async with running_dashboard(database, clock) as dashboard:
        browser = await dashboard.signed_in()
        clock.advance(minutes=11)
        await browser.get("/account")
        statuses = [(await browser.post("/merchant/danger", {"password": "wrong password"})).status for _ in range(7)]
    assert statuses == [422] * 5 + [429] * 2
