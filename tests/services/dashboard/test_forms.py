"""Forms do something only from our own pages, in the browser that they were given to; a GET does nothing."""

import pytest

from services.dashboard.api.routes import PAGES
from services.dashboard.api.security import csrf_token
from tests.services.dashboard.conftest import PASSWORD, Dashboard

NAME = {"name": "Somebody else", "zone": "", "rows": "25"}


async def _name(dashboard: Dashboard) -> str:
    async with dashboard.pool.connection() as connection:
        return str(await connection.fetchval("SELECT name FROM accounts"))


async def test_a_form_of_our_own_page_works(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    assert (await browser.post("/account", NAME)).location == "/account?note=account_saved"
    assert await _name(dashboard) == "Somebody else"


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "SELF"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "SELF"}, False),
        ({}, False),
    ],
    ids=str,
)
async def test_where_a_form_comes_from_decides(dashboard: Dashboard, headers: dict[str, str], is_ours: bool) -> None:
    """Even with a right token: another port of the host, or a page that stole the token, must not act."""
    browser = await dashboard.signed_in()
    sent = {name: value.replace("SELF", dashboard.url) for name, value in headers.items()}
    reply = await browser.raw("POST", "/account", sent, {**NAME, "csrf": browser.csrf})
    assert (reply.status == 303) is is_ours
    assert (await _name(dashboard) == "Somebody else") is is_ours


@pytest.mark.parametrize("token", ["", "0" * 64, "of another session", "of a stranger's page", "\udc80"])
async def test_a_form_needs_the_token_of_its_own_session(dashboard: Dashboard, token: str) -> None:
    browser = await dashboard.signed_in()
    other = await dashboard.signed_in("jonas@x.example")
    stranger = dashboard.browser()
    await stranger.get("/sign-in")
    tokens = {"of another session": other.csrf, "of a stranger's page": stranger.csrf, "\udc80": csrf_token("")}
    reply = await browser.post("/account", {**NAME, "csrf": tokens.get(token, token)})
    assert reply.status == 403
    assert "Nothing was changed" in reply.text
    assert await dashboard.count("accounts", "name = 'Somebody else'") == 0


async def test_htmx_sends_the_token_in_a_header(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in()
    form = {**NAME, "csrf": ""}
    assert (await browser.post("/account", form, X_CSRF_Token=browser.csrf, HX_Request="true")).status == 200
    assert (await browser.post("/account", form, X_CSRF_Token="0" * 64)).status == 403


async def test_nobody_is_signed_in_to_an_account_of_somebody_else_by_a_foreign_form(dashboard: Dashboard) -> None:
    """Login CSRF: what the victim then types goes into the attacker's account."""
    await dashboard.account()
    victim, attacker = dashboard.browser(), dashboard.browser()
    await attacker.get("/sign-in")
    form = {"email": "mara@northwind.example", "password": PASSWORD, "csrf": attacker.csrf}
    assert (await victim.post("/sign-in", form)).status == 403
    await victim.get("/sign-in")
    assert (await victim.post("/sign-in", {**form, "csrf": attacker.csrf})).status == 403
    assert await dashboard.count("sessions") == 0


async def test_every_post_refuses_a_form_without_its_token(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in(role="operator")
    posts = [route for route in PAGES if route.method == "POST"]
    assert posts
    for route in posts:
        path = route.path.replace("{token}", "x").replace("{", "").replace("}", "")
        reply = await browser.post(path, {"csrf": "0" * 64})
        assert reply.status == 403, route.path


async def test_a_get_changes_nothing(dashboard: Dashboard) -> None:
    """Mail scanners and prefetching browsers follow links."""
    browser = await dashboard.signed_in()
    tables = ("accounts", "memberships", "sessions", "links", "throttle", "activity")

    async def state() -> list[str]:
        async with dashboard.pool.connection() as connection:
            return [str(await connection.fetch(f"SELECT * FROM {table} ORDER BY 1")) for table in tables]  # noqa: S608 - ours

    before = await state()
    for route in PAGES:
        if route.method == "GET":
            await browser.get(route.path.replace("{", "").replace("}", ""))
    assert await state() == before


@pytest.mark.parametrize(
    "body", ["a=%ff%fe", "a=%00", "&".join(f"a{n}=1" for n in range(600)), "a=" + "x" * 70_000, "=&=;%%%"]
)
async def test_a_form_that_cannot_be_read_is_a_clear_refusal(dashboard: Dashboard, body: str) -> None:
    browser = await dashboard.signed_in()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Sec-Fetch-Site": "same-origin",
        "Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
    }
    async with dashboard.http.post(f"{dashboard.url}/account", data=body, headers=headers) as reply:
        assert 400 <= reply.status < 500
        assert "Traceback" not in await reply.text()
