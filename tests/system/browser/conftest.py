"""A browser for the tests of a file, on the stack that all system tests share, signed in once per account."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, sync_playwright

from tests.chromium import PROGRAM, ensure_chromium
from tests.system.stack import Stack

AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1" / "axe.min.js"
# WCAG 2.0 to 2.2, A and AA, and axe's best practice.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
_AXE_RUN = """(rules) => axe.run({runOnly: rules}).then((found) => found.violations.map(
    (each) => each.id + ": " + each.nodes.map((node) => node.target.join(" ")).join(", ")))"""


@dataclass
class Watched:
    """A page, and whatever on it should not have been."""

    page: Page
    base: str
    faults: list[str] = field(default_factory=list)
    # Statuses that a test provokes; Chromium logs each of them as an error.
    expected: set[int] = field(default_factory=set)

    def watch(self) -> "Watched":
        self.page.add_init_script(_WATCH)
        self.page.on("console", lambda message: self._console(message.type, message.text))
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("request", lambda request: self._request(request.url))
        self.page.on("response", lambda response: self._response(response.status, response.url))
        return self

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)

    def check(self) -> None:
        """Fail with everything that should not have been: console, scripts, policy, requests to others."""
        violations = self.page.evaluate("window.violations")
        assert self.faults == []
        assert violations == []

    def axe(self) -> list[str]:
        self.page.evaluate(AXE.read_text("utf-8"))
        found: list[str] = self.page.evaluate(_AXE_RUN, _RULES)
        return found

    def _console(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not (self.expected and "Failed to load resource" in text):
            self.faults.append(f"console: {text}")

    def _request(self, url: str) -> None:
        if not url.startswith((self.base, "data:", "blob:")):
            self.faults.append(f"request to {url}")

    def _response(self, status: int, url: str) -> None:
        if status >= 400 and status not in self.expected:
            self.faults.append(f"{status} {url}")


# While the driver runs, its event loop counts as the thread's, and no other test could run one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The one browser of a file; it ends before the tests of another file begin."""
    ensure_chromium()
    # Its sandbox does not work for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=PROGRAM, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="session")
def base(stack: Stack) -> str:
    """The address of the dashboard."""
    return stack.url("dashboard")


@pytest.fixture(scope="session")
def sign_ins(stack: Stack) -> dict[str, dict[str, Any]]:
    """The accounts of the stack, by role and grade: `partner`, `partner look`."""
    return {
        each["role"] if each["grade"] == "change" else f"{each['role']} look": each for each in stack.told["sign_ins"]
    }


@pytest.fixture(scope="module")
def states(browser: Browser, base: str, sign_ins: dict[str, dict[str, Any]]) -> Callable[[str], StorageState]:
    """Return the cookies of an account, which signs in once for all tests of a file."""
    kept: dict[str, StorageState] = {}

    def state(who: str) -> StorageState:
        if who not in kept:
            with browser.new_context() as context:
                page = context.new_page()
                page.goto(f"{base}/sign-in")
                page.fill("#email", sign_ins[who]["email"])
                page.fill("#password", sign_ins[who]["password"])
                page.click("button:has-text('Sign in')")
                page.wait_for_url(f"{base}/{who.split(maxsplit=1)[0]}")
                kept[who] = context.storage_state()
        return kept[who]

    return state


@pytest.fixture
def new_page(browser: Browser, base: str) -> Iterator[Callable[..., Watched]]:
    """Open a watched page in a context of its own, as the account of a state or as a stranger."""
    contexts: list[BrowserContext] = []

    def new(state: StorageState | None = None, **options: Any) -> Watched:
        # Colours in the middle of a change have no contrast to speak of.
        given = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
        context = browser.new_context(storage_state=state, **given)
        context.set_default_timeout(10_000)
        contexts.append(context)
        return Watched(context.new_page(), base).watch()

    yield new
    for context in contexts:
        context.close()
