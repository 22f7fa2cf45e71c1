"""Who may do what: every route against every kind of key, and every route against another tenant's ids."""

import json
import re
import uuid
from typing import Any

import pytest

from services.codes.api.routes import ROUTES
from shared.accounts import Grade, Role
from shared.web import Route
from tests.accounts import DASHBOARD, REFUSALS, walk_table
from tests.services.codes.code_orders import place
from tests.services.codes.conftest import OPERATOR_TOKEN, Owner, Reply, Service

SCOPES = {
    "programs": ("manage", "checkout", "webhooks"),
    "partners": ("codes:generate", "codes:read", "webhooks"),
}


def body_of(route: Route) -> dict[str, Any] | None:
    """Return a body that the route accepts."""
    if route.method in ("GET", "DELETE"):
        return None
    if route.path.endswith("/import"):
        return None
    if route.path.endswith("/batch"):
        return {"count": 1}
    if route.path.endswith("/quota"):
        return {"amount": 1}
    if route.path.endswith("/code-orders"):
        return {"count": 1}
    if route.path.endswith("/refuse"):
        return {"reason": "No."}
    if route.path.endswith(("/rotate", "/approve", "/suspend", "/keys", "/generate", "/cancel")):
        return {}
    return {"active": False} if "/promotion-codes/" in route.path else {"name": "Changed"}


def filled(route: Route, ids: dict[str, str]) -> str:
    """Fill in a path; of what has no owner, such as a queue, there is none of the name."""
    return re.sub(r"\{(\w+)[^}]*\}", lambda match: ids.get(match[1], "unknown"), route.path)


async def call(service: Service, route: Route, ids: dict[str, str], key: str | None) -> Reply:
    return await service.send(route.method, filled(route, ids), key, body_of(route))


def account_of(
    service: Service,
    program: Owner | None,
    partner: Owner | None = None,
    role: Role | None = None,
    grade: Grade = "change",
) -> str:
    """Return the token of an account that acts for a program, or for a partner of it."""
    return DASHBOARD.token(
        "codes",
        service.clock(),
        role or ("merchant" if partner is None else "partner"),
        grade,
        program_id=None if program is None else program.id,
        partner_id=None if partner is None else partner.id,
    )


def refusal(reply: Reply, asked: dict[str, str]) -> tuple[int, str]:
    """Return what a refusal says, but for the id of its request and the names that it asked for."""
    text = json.dumps({name: value for name, value in reply.body.items() if name != "request_id"})
    for name in asked.values():
        text = text.replace(name, "asked for")
    return reply.status, text


@pytest.mark.parametrize("by", ["key", "account"])
@pytest.mark.parametrize("named_by", ["code", "id"])
async def test_a_foreign_object_answers_exactly_like_a_missing_one(service: Service, by: str, named_by: str) -> None:
    mine, theirs = await service.program(name="Mine"), await service.program(name="Theirs")
    partner = await service.partner(theirs, quota=1)
    own = await service.partner(mine, quota=1)
    code = (await service.generate(partner)).body["code"]
    foreign = {"program_id": theirs.id, "partner_id": partner.id, "key_id": partner.key_id}
    foreign["coupon"] = (await service.send("GET", "/v1/coupons/partner-codes", theirs.key)).data["id"]
    foreign["code"] = (await service.send("GET", f"/v1/promotion-codes/{code}", theirs.key)).data[named_by]
    batch = f"/v1/coupons/{foreign['coupon']}/promotion-codes/batch"
    foreign["job_id"] = (await service.send("POST", batch, theirs.key, {"count": 1})).data["job"]["id"]
    foreign["code_order_id"] = await place(service, partner)
    missing = {name: str(uuid.uuid4()) for name in foreign}
    checked = 0
    for route in ROUTES:
        if "{" not in route.path or route.security == "operator":
            continue
        asks = own if route.security == "partner_key" else mine
        key = asks.key if by == "key" else account_of(service, mine, own if asks is own else None)
        reply = await call(service, route, foreign, key)
        assert reply.status == 404, (route.method, route.path)
        absent = await call(service, route, missing, key)
        assert refusal(reply, foreign) == refusal(absent, missing), (route.method, route.path)
        checked += 1
    assert checked == 40


async def test_what_foreign_hands_tried_left_no_trace(service: Service) -> None:
    mine, theirs = await service.program(name="Mine"), await service.program(name="Theirs")
    partner = await service.partner(theirs, quota=1)
    paths = (f"/v1/partners/{partner.id}", f"/v1/partners/{partner.id}/keys", f"/v1/partners/{partner.id}/quota/ledger")
    before = [(await service.send("GET", path)).raw for path in paths]
    foreign = {"program_id": theirs.id, "partner_id": partner.id, "key_id": partner.key_id, "code": "X", "coupon": "X"}
    foreign["job_id"] = str(uuid.uuid4())
    foreign["code_order_id"] = await place(service, partner)
    for route in ROUTES:
        if route.security == "bearer" and "{" in route.path:
            await call(service, route, foreign, mine.key)
    assert [(await service.send("GET", path)).raw for path in paths] == before


async def test_a_key_of_mine_is_not_found_under_another_owner_of_mine(service: Service, program: Owner) -> None:
    one, two = await service.partner(program, name="One"), await service.partner(program, name="Two")
    for path in (f"/v1/partners/{one.id}/keys/{two.key_id}", f"/v1/programs/{program.id}/keys/{one.key_id}"):
        assert (await service.send("PATCH", path, program.key, {"name": "x"})).status == 404
        assert (await service.send("POST", f"{path}/rotate", program.key)).status == 404
        assert (await service.send("DELETE", path, program.key)).status == 404
    assert (await service.send("DELETE", f"/v1/partners/{one.id}/keys/{program.key_id}", program.key)).status == 404


async def test_lists_hold_what_is_mine(service: Service) -> None:
    mine, theirs = await service.program(name="Mine"), await service.program(name="Theirs")
    await service.partner(theirs, name="Theirs")
    own = await service.partner(mine, name="Mine")
    listed = await service.send("GET", "/v1/partners", mine.key)
    assert [partner["id"] for partner in listed.data] == [own.id]


async def test_every_route_lets_in_the_roles_and_grades_of_the_table(service: Service, program: Owner) -> None:
    partner = await service.partner(program, quota=1)
    ids = {
        name: str(uuid.uuid4())
        for name in ("program_id", "partner_id", "key_id", "code", "coupon", "job_id", "code_order_id")
    }

    def token(role: Role, grade: Grade) -> str:
        owner = None if role == "operator" else program
        return account_of(service, owner, partner if role == "partner" else None, role, grade)

    counts = await walk_table(ROUTES, lambda route, key: call(service, route, ids, key), token)
    assert min(counts[each] for each in ("let in", *REFUSALS)) >= 5


async def test_every_route_asks_for_its_scope_and_takes_no_other(service: Service, program: Owner) -> None:
    partner = await service.partner(program, quota=1)
    owners = {"programs": program, "partners": partner}
    keys = {
        (kind, scope): (await service.with_key(f"/v1/{kind}/{owners[kind].id}", scopes=[scope], purpose=scope)).key
        for kind, scopes in SCOPES.items()
        for scope in scopes
    }
    public = {"kind": "publishable", "purpose": "public"}
    keys["programs", "validate"] = (await service.with_key(f"/v1/programs/{program.id}", **public)).key
    unknown = {
        name: str(uuid.uuid4())
        for name in ("program_id", "partner_id", "key_id", "code", "coupon", "job_id", "code_order_id")
    }
    for route in ROUTES:
        if route.security == "operator":
            continue
        for (_, scope), key in keys.items():
            reply = await call(service, route, unknown, key)
            is_refused = reply.status == 403 and "scope_missing" in (
                reply.body.get("code"),
                reply.body.get("error_code"),
            )
            assert is_refused == (scope not in route.scopes), (route.method, route.path, scope)


async def test_without_a_valid_key_every_route_is_closed(service: Service) -> None:
    ids = {
        name: str(uuid.uuid4())
        for name in ("program_id", "partner_id", "key_id", "code", "coupon", "job_id", "code_order_id")
    }
    for route in ROUTES:
        for key in (None, "", "nonsense", OPERATOR_TOKEN + "x"):
            reply = await call(service, route, ids, key)
            assert reply.status == 401, (route.method, route.path)
            header = "X-Partner-Key" if route.security == "partner_key" else "Bearer"
            assert header in reply.headers["WWW-Authenticate"], (route.method, route.path)


async def test_the_operator_s_token_opens_what_it_is_for(service: Service) -> None:
    ids = {
        name: str(uuid.uuid4())
        for name in ("program_id", "partner_id", "key_id", "code", "coupon", "job_id", "code_order_id")
    }
    for route in ROUTES:
        reply = await call(service, route, ids, OPERATOR_TOKEN)
        is_let_in = route.security == "operator" or route.operator_allowed
        assert (reply.status != 401) == is_let_in, (route.method, route.path)


async def test_the_operator_reaches_every_program_s_partners(service: Service, partner: Owner) -> None:
    assert (await service.send("GET", f"/v1/partners/{partner.id}")).status == 200
    assert (await service.send("POST", f"/v1/partners/{partner.id}/suspend")).data["status"] == "suspended"
    assert (await service.send("PATCH", f"/v1/partners/{partner.id}", json={"name": "New"})).data["name"] == "New"
