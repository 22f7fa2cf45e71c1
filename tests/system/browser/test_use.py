"""The dashboard as people use it: with a keyboard, without script, on a phone, and when something goes wrong."""

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import StorageState, expect

from tests.system.browser.conftest import Watched


def test_signing_in_by_keyboard_and_out_again(
    sign_ins: dict[str, dict[str, Any]], new_page: Callable[..., Watched]
) -> None:
    watched = new_page()
    page, account = watched.page, sign_ins["merchant"]
    watched.open("/merchant/team")
    assert page.url.endswith("/sign-in?next=%2Fmerchant%2Fteam")
    page.focus("#email")
    page.keyboard.type(account["email"])
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type(account["password"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/merchant/team")
    page.click("aside button[aria-label='Sign out']")
    page.wait_for_url("**/sign-in?note=signed_out")
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    # What was shown is not in the browser any more.
    page.go_back()
    page.wait_for_url("**/sign-in**")
    watched.check()


def test_a_refused_sign_in_keeps_the_address_and_takes_the_focus(new_page: Callable[..., Watched]) -> None:
    watched = new_page()
    watched.expected = {422}
    watched.open("/sign-in")
    page = watched.page
    page.fill("#email", "nobody@refused.example")
    page.fill("#password", "not the password")
    page.click("button:has-text('Sign in')")
    expect(page.locator("#refusal")).to_be_focused()
    assert page.title().startswith("Error: ")
    assert page.input_value("#email") == "nobody@refused.example"
    assert page.input_value("#password") == ""
    assert watched.axe() == []
    watched.check()


def test_the_password_can_be_shown(new_page: Callable[..., Watched]) -> None:
    watched = new_page()
    watched.open("/sign-in")
    page = watched.page
    page.fill("#password", "secret words")
    page.click("[data-show]")
    assert page.get_attribute("#password", "type") == "text"
    expect(page.locator("[data-show]")).to_have_text("Hide")
    page.click("[data-show]")
    assert page.get_attribute("#password", "type") == "password"
    watched.check()


def test_everything_works_without_script(sign_ins: dict[str, dict[str, Any]], new_page: Callable[..., Watched]) -> None:
    watched = new_page(java_script_enabled=False, viewport={"width": 390, "height": 800})
    page, account = watched.page, sign_ins["operator"]
    watched.open("/sign-in")
    page.fill("#email", account["email"])
    page.fill("#password", account["password"])
    page.click("button:has-text('Sign in')")
    page.wait_for_url("**/operator")
    expect(page.get_by_role("link", name="Refresh")).to_be_visible()
    assert page.locator(".js-only:visible").count() == 0
    page.click("summary:has-text('Menu')")
    page.click(".sheet a:has-text('Accounts')")
    page.wait_for_url("**/operator/accounts")
    page.fill("#email", "new@invited.example")
    page.select_option("#role", "operator")
    page.get_by_role("button", name="Invite", exact=True).click()
    expect(page.get_by_text("Shown this once")).to_be_visible()
    page.click("summary:has-text('Menu')")
    page.click(".sheet button[aria-label^='Theme']")
    assert page.get_attribute("html", "data-theme") == "dark"
    page.click("summary:has-text('Menu')")
    page.click(".sheet button[aria-label='Sign out']")
    page.wait_for_url("**/sign-in**")
    assert watched.faults == []


def test_an_invitation_from_the_link_to_the_first_page(
    states: Callable[[str], StorageState], new_page: Callable[..., Watched]
) -> None:
    inviting = new_page(states("merchant"))
    inviting.open("/merchant/team")
    inviting.page.fill("#email", "jonas@invited.example")
    inviting.page.select_option("#grade", "change")
    inviting.page.get_by_role("button", name="Invite", exact=True).click()
    link = inviting.page.locator("#link").inner_text()
    assert inviting.axe() == []
    inviting.check()
    invited = new_page()
    invited.page.goto(link)
    assert invited.axe() == []
    invited.page.fill("#name", "Jonas Weber")
    invited.page.fill("#password", "words that nobody guesses")
    invited.page.click("button:has-text('Create the account')")
    invited.page.fill("#email", "jonas@invited.example")
    invited.page.fill("#password", "words that nobody guesses")
    invited.page.click("button:has-text('Sign in')")
    invited.page.wait_for_url("**/merchant")
    expect(invited.page.locator("aside").get_by_text("Jonas Weber")).to_be_visible()
    invited.check()


def test_a_copy_button_never_says_copied_when_it_is_not(
    states: Callable[[str], StorageState], new_page: Callable[..., Watched]
) -> None:
    for script, word in (
        ("Object.defineProperty(navigator, 'clipboard', {value: undefined})", "Press Ctrl+C"),
        ("navigator.clipboard.writeText = () => Promise.reject(new Error())", "Press Ctrl+C"),
        ("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }", "Copied"),
    ):
        watched = new_page(states("merchant"))
        watched.page.add_init_script(script)
        watched.open("/merchant/team")
        watched.page.fill("#email", "copied@invited.example")
        watched.page.get_by_role("button", name="Invite", exact=True).click()
        watched.page.click(".secret button")
        expect(watched.page.locator(".secret .lbl")).to_have_text(word)
        expect(watched.page.locator("#live")).to_have_text(word)
        value = watched.page.locator("#link").inner_text()
        if word == "Copied":
            assert watched.page.evaluate("window.copied") == value
        else:
            assert watched.page.evaluate("getSelection().toString()") == value
        watched.check()


def test_menus_close_on_escape_and_when_the_focus_leaves(
    states: Callable[[str], StorageState], new_page: Callable[..., Watched]
) -> None:
    watched = new_page(states("partner"), viewport={"width": 390, "height": 800})
    watched.open("/partner")
    page, menu = watched.page, watched.page.locator("details.menu")
    page.click("summary:has-text('Menu')")
    assert watched.axe() == []
    page.keyboard.press("Escape")
    assert menu.get_attribute("open") is None
    expect(page.locator("details.menu > summary")).to_be_focused()
    page.click("summary:has-text('Menu')")
    page.evaluate("document.querySelector('main').focus()")
    assert menu.get_attribute("open") is None
    watched.check()


def test_the_focus_is_never_hidden(states: Callable[[str], StorageState], new_page: Callable[..., Watched]) -> None:
    """A sticky bar over the focused control (WCAG 2.2, 2.4.11)."""
    watched = new_page(states("merchant"), viewport={"width": 390, "height": 500})
    watched.open("/merchant/team")
    for _ in range(25):
        watched.page.keyboard.press("Tab")
        hidden = watched.page.evaluate(
            """() => { const each = document.activeElement; const box = each.getBoundingClientRect();
            if (each === document.body || !box.width || each.closest(".topbar,.skip")) return null;
            const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
            return top && (each.contains(top) || top.contains(each)) ? null : each.outerHTML.slice(0, 200); }"""
        )
        assert hidden is None


def test_health_renews_itself_and_keeps_the_page(
    states: Callable[[str], StorageState], new_page: Callable[..., Watched]
) -> None:
    watched = new_page(states("operator"))
    watched.open("/operator")
    page = watched.page
    page.evaluate("window.kept = true")
    first = page.locator("#health time").first.get_attribute("datetime")
    page.wait_for_function(
        "(first) => document.querySelector('#health time').dateTime !== first", arg=first, timeout=15_000
    )
    assert page.evaluate("window.kept") is True
    assert page.locator("h1").count() == 1
    watched.check()


def test_what_is_injected_does_not_run(states: Callable[[str], StorageState], new_page: Callable[..., Watched]) -> None:
    """If a text of others ever reached a page as HTML, the policy would be what is left."""
    watched = new_page(states("merchant"))
    watched.open("/merchant")
    page = watched.page
    page.evaluate(
        """() => { document.querySelector("main").innerHTML =
        '<img src="x" onerror="window.ran = 1"><script>window.ran = 1</script>'; }"""
    )
    # Text that would become script is refused by Trusted Types.
    blocked = page.evaluate("() => { try { setTimeout('window.ran = 1'); return false; } catch { return true; } }")
    assert blocked is True
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") is None
    assert page.evaluate("window.violations.length") > 0


def test_times_are_relative_with_the_exact_one_beside_them(
    states: Callable[[str], StorageState], new_page: Callable[..., Watched]
) -> None:
    watched = new_page(states("operator"))
    watched.open("/operator/accounts")
    time = watched.page.locator("main time[data-ago]").first
    assert re.fullmatch(r"just now|\d+ (?:min|h) ago", time.inner_text())
    assert re.search(r"\d\d:\d\d:\d\d UTC$", str(time.get_attribute("title")))
