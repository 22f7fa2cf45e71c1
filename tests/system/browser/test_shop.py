"""The demo shop in a browser: one press buys, every page is accessible in both themes, and script is not needed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, StorageState

from examples.shop.pages import COOKIE
from tests.system.browser.conftest import Watched
from tests.system.stack import Stack

_BUY = "button.btn:has-text('Buy for')"


@pytest.fixture
def link(stack: Stack) -> str:
    """The link of a fresh code."""
    minted: dict[str, Any] = json.loads(stack.mintwire("code", "generate", "--json", seconds=60))
    return str(minted["url"])


def at_shop(stack: Stack, watched: Watched) -> Page:
    watched.base = stack.url("shop")
    watched.page.set_default_timeout(20_000)
    return watched.page


def looked_over(watched: Watched) -> None:
    """Look at the open page at three widths and in both themes."""
    page = watched.page
    for theme, width in (("light", 1280), ("dark", 1280), ("dark", 320), ("light", 320)):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of the two
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, f"{page.url} at {width}"
        assert watched.axe() == [], f"{page.url}, {theme}, {width}"


@pytest.mark.parametrize("has_script", [True, False])
def test_a_link_opens_and_one_press_buys(
    stack: Stack, new_page: Callable[..., Watched], link: str, has_script: bool
) -> None:
    watched = new_page(java_script_enabled=has_script)
    page = at_shop(stack, watched)
    page.goto(link)
    assert page.inner_text(_BUY) == "Buy for EUR 0.00"
    page.click(_BUY)
    page.wait_for_url("**/orders/*")
    assert page.inner_text("h1") == "Thank you"
    # The page loads itself again until the outcome is known.
    page.wait_for_selector("li:has-text('redeemed')")
    assert page.is_visible("#print-page") == has_script
    assert watched.faults == []


def test_every_page_is_accessible_and_fits(stack: Stack, new_page: Callable[..., Watched], link: str) -> None:
    watched = new_page(bypass_csp=True)
    page = at_shop(stack, watched)
    watched.expected = {404, 422}
    page.goto(link)
    looked_over(watched)
    page.fill("#recipient_name", "")
    page.click(_BUY)
    page.wait_for_selector(".note")
    assert page.evaluate("document.activeElement.id") == "note"
    looked_over(watched)
    page.fill("#recipient_name", "Łucja")
    page.click("button[name=into_bag]")
    page.wait_for_url("**/bag")
    page.click("summary")
    page.fill("#code", "NO-SUCH-CODE")
    page.press("#code", "Enter")
    page.wait_for_selector(".code.no")
    looked_over(watched)
    page.click(_BUY)
    page.wait_for_selector("li:has-text('redeemed')")
    looked_over(watched)
    watched.open("/nothing")
    looked_over(watched)
    assert watched.faults == []


def test_the_shop_sees_no_cookie_of_the_dashboard_nor_the_other_way_round(
    stack: Stack, states: Callable[[str], StorageState], new_page: Callable[..., Watched], link: str
) -> None:
    """Browsers keep cookies by name and not by port; the session of an account must not reach a shop's server."""
    watched = new_page(states("partner"))
    page = at_shop(stack, watched)
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.all_headers().get("cookie", "")))
    page.goto(link)
    page.reload()
    assert any(COOKIE in cookies for cookies in seen)
    names = {each.split("=")[0].strip() for cookies in seen for each in cookies.split(";") if each}
    assert names == {COOKIE}
    assert COOKIE not in {each["name"] for each in page.context.cookies(stack.url("dashboard"))}
    watched.check()
