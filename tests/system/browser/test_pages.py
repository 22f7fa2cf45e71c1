"""Every page that exists, as its role sees it: a clean console, no policy report, accessible, no sideways scroll."""

from collections.abc import Callable
from typing import get_args

import pytest
from playwright.sync_api import StorageState

from services.dashboard.api.routes import PAGES
from services.dashboard.domain.permissions import may
from shared.accounts import Grade, Role
from tests.system.browser.conftest import Watched

# Those that redirect show nothing of their own.
_ELSEWHERE = {"/"}
_STRANGERS = ["/sign-in", "/reset", "/help"]
# What is pressed and too small, except links within a line of text (WCAG 2.2, 2.5.8).
_SMALL = """() => [...document.querySelectorAll("a,button,summary,select,input:not([type=hidden])")].filter((each) => {
    const box = each.getBoundingClientRect();
    const inline = each.tagName === "A" && each.closest("p,dd,li:not(.nav li)") && !each.closest("nav,.acts,.crumb");
    return !inline && box.width && box.height && (box.width < 24 || box.height < 24) && !each.closest(".vh,.skip");
}).map((each) => each.outerHTML.slice(0, 120))"""


def pages_of(role: Role, grade: Grade) -> list[str]:
    return [
        route.path
        for route in PAGES
        if route.method == "GET"
        and not route.is_public
        and "{" not in route.path
        and route.path not in _ELSEWHERE
        and route.role in (None, role)
        and (route.action is None or may(role, grade, route.action))
    ]


def looked_over(watched: Watched, path: str) -> None:
    """Look at a page at two widths and in both themes, loaded once."""
    page = watched.page
    watched.open(path)
    assert page.locator("h1").count() == 1, path
    assert " · mintwire" in page.title()
    assert watched.axe() == [], path
    assert page.evaluate(_SMALL) == [], path
    for width in (320, 768, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, f"{path} at {width}"
    page.set_viewport_size({"width": 390, "height": 900})
    page.emulate_media(color_scheme="dark")
    assert watched.axe() == [], f"{path}, dark and narrow"
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})
    watched.check()


@pytest.mark.parametrize("role", get_args(Role))
def test_the_pages_of_a_role(
    role: Role, states: Callable[[str], StorageState], new_page: Callable[..., Watched]
) -> None:
    watched = new_page(states(role))
    paths = pages_of(role, "change")
    assert f"/{role}" in paths
    for path in paths:
        looked_over(watched, path)


def test_the_pages_of_a_stranger(new_page: Callable[..., Watched]) -> None:
    watched = new_page()
    for path in _STRANGERS:
        looked_over(watched, path)


@pytest.mark.parametrize("who", ["partner look", "merchant look"])
def test_who_may_look_is_offered_nothing_that_changes_something(
    who: str, states: Callable[[str], StorageState], new_page: Callable[..., Watched]
) -> None:
    watched = new_page(states(who))
    role: Role = "partner" if who.startswith("partner") else "merchant"
    for path in pages_of(role, "look"):
        watched.open(path)
        forms = watched.page.locator("main form[method=post]")
        actions = [forms.nth(number).get_attribute("action") for number in range(forms.count())]
        # Its own account is its own.
        assert all(str(action).startswith("/account") for action in actions), path
    watched.check()


def test_every_link_of_the_navigation_leads_to_its_page(
    states: Callable[[str], StorageState], new_page: Callable[..., Watched]
) -> None:
    for role in get_args(Role):
        watched = new_page(states(role))
        watched.open(f"/{role}")
        links = watched.page.locator("aside nav a")
        paths = [links.nth(number).get_attribute("href") for number in range(links.count())]
        assert paths
        for path in paths:
            watched.open(str(path))
            current = watched.page.locator("aside nav a[aria-current=page]")
            assert current.get_attribute("href") == path
        watched.check()
