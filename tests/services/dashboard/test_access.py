"""Every page as every role and grade: what the table of permissions says, and no more."""

import uuid
from typing import get_args

import pytest

from services.dashboard.api.routes import PAGES
from services.dashboard.domain.navigation import NAVIGATION, Entry
from services.dashboard.domain.permissions import ACTIONS, may
from shared.accounts import Grade, Role
from tests.services.dashboard.conftest import Dashboard

ROLES = get_args(Role)
SHOWN = [route for route in PAGES if route.method == "GET" and not route.is_public]
DONE = [route for route in PAGES if route.method == "POST" and not route.is_public and route.path != "/sign-out"]
NOTHING = "There is nothing here, or it is not yours to see."


def _path(path: str) -> str:
    return "/".join(str(uuid.uuid4()) if part.startswith("{") else part for part in path.split("/"))


@pytest.mark.parametrize("grade", get_args(Grade))
@pytest.mark.parametrize("role", ROLES)
async def test_every_page_as_every_role_and_grade(dashboard: Dashboard, role: Role, grade: Grade) -> None:
    browser = await dashboard.signed_in(role=role, grade=grade)
    for route in SHOWN:
        reply = await browser.get(_path(route.path))
        is_allowed = route.role in (None, role) and (route.action is None or may(role, grade, route.action))
        if not is_allowed:
            is_own = route.role == role and role in ACTIONS[str(route.action)].weights
            assert reply.status == (403 if is_own else 404), route.path
        elif "{" not in route.path:
            # With every service away, a page still answers, and says which part is missing.
            assert reply.status in {200, 303}, route.path
    for route in DONE:
        reply = await browser.post(_path(route.path))
        is_allowed = route.role in (None, role) and (route.action is None or may(role, grade, route.action))
        assert (reply.status in {403, 404}) or is_allowed, route.path
        if not is_allowed and route.role == role:
            assert reply.status == 403, route.path
        elif not is_allowed:
            assert NOTHING.split(",", maxsplit=1)[0] in reply.text, route.path


async def test_a_stranger_is_sent_to_sign_in_and_nowhere_else(dashboard: Dashboard) -> None:
    for route in SHOWN:
        reply = await dashboard.browser().get(route.path.replace("{", "").replace("}", ""))
        assert reply.status == 303
        assert reply.location.startswith("/sign-in"), route.path


async def test_a_page_of_another_role_answers_exactly_like_one_that_does_not_exist(dashboard: Dashboard) -> None:
    browser = await dashboard.signed_in(role="merchant")
    foreign = await browser.get("/operator/accounts")
    missing = await browser.get("/operator/no-such-page")
    assert foreign.status == missing.status == 404
    clean = [
        reply.text.replace("/operator/accounts", "").replace("/operator/no-such-page", "")
        for reply in (foreign, missing)
    ]
    assert clean[0] == clean[1]


async def test_a_part_whose_service_is_away_is_a_sentence_and_nothing_unknown_is_well(dashboard: Dashboard) -> None:
    partner = await dashboard.signed_in("p@x.example", role="partner")
    page = await partner.get("/partner")
    assert page.status == 200
    assert "The codes service does not answer" in page.text
    assert "The webhooks service does not answer" in page.text
    operator = await dashboard.signed_in("o@x.example", role="operator")
    health = await operator.get("/operator")
    assert "Not known: codes, redemption, webhooks" in health.text
    assert "All is well" not in health.text
    assert health.text.count(">Ready<") == 0


def test_the_navigation_names_paths_of_its_own_role() -> None:
    for role, entries in NAVIGATION.items():
        for entry in entries:
            if isinstance(entry, Entry) and entry.path:
                assert entry.path.split("/")[1] == role
