"""Accounts of a dashboard: what they may do here, for whom, and what is written of them."""

import re
import uuid

from services.redemption.api.routes import ROUTES
from shared.accounts import Grade, Role
from shared.web import Route
from tests.accounts import DASHBOARD, REFUSALS, walk_table
from tests.services.redemption.conftest import Decider, Reply, Shop
from tests.services.redemption.merchant import Merchant


def token(
    shop: Shop,
    role: Role = "merchant",
    grade: Grade = "change",
    *,
    program_id: uuid.UUID | None = None,
    partner_id: uuid.UUID | None = None,
    account_id: uuid.UUID | None = None,
) -> str:
    if role != "operator":
        program_id = program_id or shop.program_id
    now = shop.decider.now
    return DASHBOARD.token(
        *("redemption", now, role, grade), program_id=program_id, partner_id=partner_id, account_id=account_id
    )


async def test_every_route_lets_in_the_roles_and_grades_of_the_table(shop: Shop, merchant: Merchant) -> None:
    partner_id = await merchant.partner(shop.program_id)

    async def ask(route: Route, key: str) -> Reply:
        path = re.sub(r"\{\w+[^}]*\}", str(uuid.uuid4()), route.path)
        return await shop.send(route.method, path, key=key)

    def of(role: Role, grade: Grade) -> str:
        return token(shop, role, grade, partner_id=partner_id if role == "partner" else None)

    # The operator's token is not set here, and an account needs none.
    counts = await walk_table(ROUTES, ask, of)
    assert min(counts[each] for each in ("let in", *REFUSALS)) >= 5


async def test_an_account_acts_for_a_program_that_is_there(shop: Shop, merchant: Merchant) -> None:
    other = await merchant.program()
    theirs = await merchant.partner(other)
    strangers = (
        token(shop, program_id=uuid.uuid4()),
        token(shop, "partner", partner_id=theirs),
        token(shop, "partner", partner_id=uuid.uuid4()),
    )
    for key in strangers:
        assert (await shop.send("GET", "/v1/redemptions", key=key)).status == 401
    # One that is there is let in, as far as it has scopes.
    theirs_by_them = token(shop, "partner", program_id=other, partner_id=theirs)
    assert (await shop.send("GET", "/v1/redemptions", key=theirs_by_them)).body["code"] == "scope_missing"


async def test_what_another_program_has_is_missing(shop: Shop, merchant: Merchant) -> None:
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "MINE")
    made = await shop.send("POST", "/v1/redemptions", {"codes": ["MINE"], "order_ref": "order-1"}, key=token(shop))
    assert made.status == 201, made.body
    path = f"/v1/redemptions/{made.data['redemptions'][0]['id']}"
    stranger = token(shop, program_id=await merchant.program())
    for method, tail in (("GET", ""), ("POST", "/void")):
        body: object = None if method == "GET" else {}
        foreign = await shop.send(method, path + tail, body, key=stranger)
        nowhere = f"/v1/redemptions/{uuid.uuid4()}"
        missing = await shop.send(method, nowhere + tail, body, key=stranger)
        names = (path.rpartition("/")[2], nowhere.rpartition("/")[2])
        told = [str(each.body).replace(name, "it") for each, name in zip((foreign, missing), names, strict=True)]
        assert (foreign.status, told[0]) == (404, told[1])
    assert (await shop.send("POST", f"{path}/void", {}, key=token(shop))).status == 200


async def test_a_job_about_a_customer_names_the_account(shop: Shop, decider: Decider) -> None:
    account_id = uuid.uuid4()
    asks = token(shop, account_id=account_id)
    made = await shop.send("POST", "/v1/customers/export", {"customer_id": "c-1"}, key=asks)
    assert (made.status, made.data["actor"]) == (202, f"account {account_id}"), made.body
    # A read-only account sees that there was one, but not its contents.
    looks = token(shop, grade="look")
    assert (await shop.send("GET", f"/v1/customers/jobs/{made.data['id']}", key=looks)).status == 200
    assert (await shop.send("GET", f"/v1/customers/jobs/{made.data['id']}/file", key=looks)).body["code"] == "look_only"
