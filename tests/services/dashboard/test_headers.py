"""What every answer of the dashboard carries, whatever happened, and what its files cost."""

import gzip

import pytest

from services.dashboard.api.security import HEADERS
from tests.services.dashboard.conftest import Dashboard

PATHS = ["/sign-in", "/help", "/reset", "/no/such/page", "/invitations/x", "/partner", "/static/x.css", "/%00", "/a//b"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_stranger_s_page_has_every_header(dashboard: Dashboard, path: str) -> None:
    reply = await dashboard.browser().get(path)
    found = {name: reply.headers.get(name) for name in HEADERS}
    expected = dict(HEADERS)
    if path.startswith("/invitations"):
        # The address holds a secret.
        expected["Referrer-Policy"] = "no-referrer"
    assert found == expected
    assert reply.headers["X-Request-Id"]
    assert "Traceback" not in reply.text


@pytest.mark.parametrize("path", ["/merchant", "/account", "/merchant/team", "/operator", "/no/such/page"])
async def test_a_page_behind_the_sign_in_has_every_header(dashboard: Dashboard, path: str) -> None:
    browser = await dashboard.signed_in()
    reply = await browser.get(path)
    assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS


def test_the_policy_lets_nothing_in_that_is_not_ours() -> None:
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    for kind in ("script-src", "style-src", "connect-src", "font-src"):
        assert policy[kind] == "'self'"
    assert "unsafe" not in str(policy)
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "dashboard.example:80", ""])
async def test_another_host_is_refused(dashboard: Dashboard, host: str) -> None:
    """A name that somebody else points at us (DNS rebinding), or that would end in links of mails."""
    reply = await dashboard.browser().get("/sign-in", Host=host or "x")
    assert reply.status == 421
    assert "<form" not in reply.text
    assert not reply.set_cookies


async def test_cookies_over_https_belong_to_this_host_alone(dashboard: Dashboard) -> None:
    from services.dashboard.api.security import Origin  # noqa: PLC0415 - next to its use

    origin = Origin("https://dashboard.shop.example")
    assert origin.cookie() == "__Host-mw"
    assert origin.cookie("pre") == "__Host-mw-pre"
    assert Origin("http://127.0.0.1:8000").cookie() == "mw-dev-8000"


async def test_files_are_cached_for_ever_and_compressed(dashboard: Dashboard) -> None:
    page = (await dashboard.browser().get("/sign-in")).text
    [path] = {part.split('"')[0] for part in page.split('href="')[1:] if "base." in part}
    headers = {"Accept-Encoding": "gzip"}
    async with dashboard.http.get(dashboard.url + path, headers=headers, auto_decompress=False) as reply:
        assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert reply.headers["Content-Encoding"] == "gzip"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert b"font-face" in gzip.decompress(await reply.read())
    assert (await dashboard.browser().get("/static/../config.py")).status == 404
    assert (await dashboard.browser().get("/static/%2e%2e/config.py")).status == 404


async def test_probes_answer_whatever_the_host(dashboard: Dashboard) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
        assert (await dashboard.browser().get(path, Host="replica-3:8000")).status == 200


async def test_an_account_that_asks_too_fast_is_asked_to_wait(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    statuses = [(await browser.post("/theme", {"theme": "dark"})).status for _ in range(3)]
    assert statuses == [303, 303, 303]
    form = {"name": "", "zone": "", "rows": "50"}
    refused = [reply for _ in range(64) if (reply := await browser.post("/account", form)).status == 429]
    assert 3 <= len(refused) <= 5
    assert 1 <= int(refused[0].headers["Retry-After"]) <= 61
