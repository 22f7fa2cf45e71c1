"""Signing in: nobody learns which addresses have accounts, nobody guesses, and no session is known beforehand."""

import asyncio
import re
import time
from unittest.mock import patch

import pytest

from services.dashboard.domain.accounts import SESSION_IDLE, SESSION_LIFE
from services.dashboard.usecases.passwords import Passwords
from tests.databases import Database
from tests.services.dashboard.conftest import PASSWORD, Dashboard, HeldClock, running_dashboard

EMAIL = "mara@northwind.example"


def _plain(text: str, email: str) -> str:
    """Leave out what differs between any two answers: tokens, and the address that was typed."""
    return re.sub(r'value="[0-9a-f]{64}"', "", text).replace(email, "")


async def test_a_session_begins_under_a_secret_that_nobody_knew_before(dashboard: Dashboard) -> None:
    """Session fixation: a cookie that an attacker has put into the browser is worth nothing afterwards."""
    await dashboard.account()
    browser = dashboard.browser()
    name = f"mw-dev-{dashboard.url.rpartition(':')[2]}"
    browser.cookies[name] = planted = "planted-by-somebody-else"
    reply = await browser.sign_in(EMAIL)
    assert reply.status == 303
    assert browser.cookies[name] not in (planted, "")
    assert len(browser.cookies[name]) == 43
    [cookie] = [each for each in reply.set_cookies if each.startswith(f"{name}=")]
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    other = dashboard.browser()
    other.cookies[name] = planted
    assert (await other.get("/merchant")).location.startswith("/sign-in")


async def test_signing_in_again_ends_the_session_before(dashboard: Dashboard) -> None:
    await dashboard.account()
    browser = dashboard.browser()
    await browser.sign_in(EMAIL)
    before = dict(browser.cookies)
    await browser.get("/account")
    await browser.post("/sign-in", {"email": EMAIL, "password": PASSWORD})
    assert await dashboard.count("sessions", "ended_at IS NULL") == 1
    old = dashboard.browser()
    old.cookies = before
    assert (await old.get("/account")).location.startswith("/sign-in")


async def test_only_digests_are_stored(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    async with dashboard.pool.connection() as connection:
        rows = [str(dict(row)) for row in await connection.fetch("SELECT * FROM sessions")]
        rows += [str(dict(row)) for row in await connection.fetch("SELECT * FROM devices")]
        rows += [str(dict(row)) for row in await connection.fetch("SELECT * FROM activity")]
    assert rows
    for secret in (*browser.cookies.values(), PASSWORD):
        assert not any(secret in row for row in rows)


async def test_a_session_ends_unused_after_eight_hours_and_at_the_latest_after_seven_days(
    dashboard: Dashboard, clock: HeldClock
) -> None:
    browser = await dashboard.signed_in()
    clock.now += SESSION_IDLE * 0.9
    assert (await browser.get("/account")).status == 200
    clock.now += SESSION_IDLE * 0.9
    assert (await browser.get("/account")).status == 200
    clock.now += SESSION_IDLE
    assert (await browser.get("/account")).status == 303
    lasting = dashboard.browser()
    await lasting.sign_in(EMAIL)
    began = clock.now
    while clock.now - began < SESSION_LIFE:
        assert (await lasting.get("/account")).status == 200
        clock.now += SESSION_IDLE * 0.9
    assert (await lasting.get("/account")).status == 303


async def test_every_refusal_is_the_same_page_and_costs_one_check(dashboard: Dashboard) -> None:
    """Unknown, wrong, without a password, disabled: an answer or its time that differs tells who has an account."""
    await dashboard.account("right@x.example")
    await dashboard.account("none@x.example", password=None)
    disabled = await dashboard.account("off@x.example")
    async with dashboard.pool.connection() as connection:
        await connection.execute("UPDATE accounts SET disabled_at = now() WHERE id = $1", disabled)
    pages, checks = set(), []
    check = Passwords._verify

    def counted(self: Passwords, password: str, stored: str) -> bool:
        checks.append(stored)
        return check(self, password, stored)

    with patch.object(Passwords, "_verify", counted):
        for email in ("right@x.example", "none@x.example", "off@x.example", "nobody@x.example"):
            password = PASSWORD if email.startswith(("off", "none", "nobody")) else "wrong password"
            reply = await dashboard.browser().sign_in(email, password)
            pages.add((reply.status, _plain(reply.text, email)))
            assert "E-mail and password do not match" in reply.text
            assert "<title>Error: Sign in" in reply.text
    assert len(pages) == 1
    assert len(checks) == 4


async def test_the_fifth_failure_brings_a_wait_that_a_right_password_does_not_shorten(
    dashboard: Dashboard, clock: HeldClock
) -> None:
    await dashboard.account()
    browser = dashboard.browser()
    for _ in range(4):
        assert (await browser.sign_in(EMAIL, "wrong password")).status == 422
    waiting = await browser.sign_in(EMAIL, "wrong password")
    assert waiting.status == 429
    assert int(waiting.headers["Retry-After"]) == 30
    assert (await browser.sign_in(EMAIL)).status == 429
    clock.advance(seconds=31)
    # The sixth failure waits twice as long.
    again = await browser.sign_in(EMAIL, "wrong password")
    assert int(again.headers["Retry-After"]) == 60
    clock.advance(seconds=61)
    assert (await browser.sign_in(EMAIL)).status == 303
    # What went well is forgotten.
    assert (await dashboard.browser().sign_in(EMAIL, "wrong password")).status == 422


async def test_an_address_without_an_account_waits_just_the_same(dashboard: Dashboard) -> None:
    statuses = [(await dashboard.browser().sign_in("nobody@x.example", "wrong password")).status for _ in range(6)]
    assert statuses == [422, 422, 422, 422, 429, 429]


async def test_simultaneous_guesses_over_two_replicas_share_one_budget(database: Database, clock: HeldClock) -> None:
    """A counter that is read before it is written lets through as many guesses as are sent at once."""
    checks: list[str] = []
    check = Passwords._verify

    def counted(self: Passwords, password: str, stored: str) -> bool:
        checks.append(stored)
        return check(self, password, stored)

    async with (
        running_dashboard(database, clock) as first,
        running_dashboard(database, clock) as second,
    ):
        await first.account()
        browsers = [replica.browser() for replica in (first, second) for _ in range(12)]
        for browser in browsers:
            await browser.get("/sign-in")
        with patch.object(Passwords, "_verify", counted):
            form = {"email": EMAIL, "password": "wrong password"}
            replies = await asyncio.gather(*(browser.post("/sign-in", form) for browser in browsers))
    assert len(checks) == 5
    assert sorted(reply.status for reply in replies) == [422] * 4 + [429] * 20


async def test_a_browser_that_has_signed_in_before_cannot_be_locked_out_from_elsewhere(
    database: Database, clock: HeldClock
) -> None:
    """Fifty failures from many networks stop strangers, not the person with its own browser."""
    async with running_dashboard(database, clock, trusted_proxies=1) as dashboard:
        await dashboard.account()
        own = dashboard.browser()
        await own.sign_in(EMAIL)
        stranger = dashboard.browser()
        await stranger.get("/sign-in")
        form = {"email": EMAIL, "password": "wrong password"}
        for number in range(50):
            await stranger.post("/sign-in", form, X_Forwarded_For=f"198.51.100.{number}")
        right = {"email": EMAIL, "password": PASSWORD}
        refused = await stranger.post("/sign-in", right, X_Forwarded_For="203.0.113.1")
        assert refused.status == 429
        await own.get("/account")
        await own.post("/sign-out")
        await own.get("/sign-in")
        assert (await own.post("/sign-in", right, X_Forwarded_For="203.0.113.2")).status == 303


@pytest.mark.parametrize(
    ("target", "goes_to"),
    [
        ("/merchant/team", "/merchant/team"),
        ("/account?x=1", "/account?x=1"),
        ("//evil.example", "/merchant"),
        ("/\\evil.example", "/merchant"),
        ("https://evil.example/", "/merchant"),
        ("javascript:alert(1)", "/merchant"),
        ("/account\r\nSet-Cookie: x=1", "/merchant"),
        ("/account\t//evil.example", "/merchant"),
        ("/no/such/page", "/merchant"),
        ("/@evil.example", "/merchant"),
        ("", "/merchant"),
    ],
)
async def test_after_signing_in_one_stays_on_our_pages(dashboard: Dashboard, target: str, goes_to: str) -> None:
    await dashboard.account()
    assert (await dashboard.browser().sign_in(EMAIL, target=target)).location == goes_to


async def test_signing_out_ends_the_session_and_clears_the_browser(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    before = dict(browser.cookies)
    reply = await browser.post("/sign-out")
    assert reply.headers["Clear-Site-Data"] == '"cache", "storage"'
    browser.cookies = before
    assert (await browser.get("/account")).status == 303


async def test_a_disabled_account_is_out_at_its_next_click(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    async with dashboard.pool.connection() as connection:
        await connection.execute("UPDATE accounts SET disabled_at = now()")
    assert (await browser.get("/account")).status == 303


async def test_too_many_passwords_at_once_are_refused_not_queued(dashboard: Dashboard) -> None:
    """Each check takes memory and a core; a flood must not take the process down."""
    with (
        patch.object(Passwords, "_verify", lambda *_: time.sleep(0.2)),
        patch("services.dashboard.usecases.passwords.MOST_WAITING", 0),
    ):
        browsers = [dashboard.browser() for _ in range(8)]
        for browser in browsers:
            await browser.get("/sign-in")
        replies = await asyncio.gather(
            *(
                browser.post("/sign-in", {"email": f"a{number}@x.example", "password": "wrong password"})
                for number, browser in enumerate(browsers)
            )
        )
    assert {reply.status for reply in replies} == {422, 503}
