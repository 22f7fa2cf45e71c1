"""Accounts of a dashboard: what they may do here, for whom, and what is written of them."""

import asyncio
import uuid

import pytest

from shared.modes import in_mode
from tests.accounts import DASHBOARD, whole
from tests.services.codes.conftest import OPERATOR_TOKEN, Owner, Service
from tests.services.codes.test_access import account_of
from tests.services.codes.test_promotion_codes import COUPON

GENERATE = "/api/partners/codes/generate"


async def test_the_header_of_the_partner_api_takes_no_token(service: Service, program: Owner, partner: Owner) -> None:
    token = account_of(service, program, partner)
    assert (await service.send("GET", "/api/partners/quota", token)).status == 200
    async with service.http.get("/api/partners/quota", headers={"X-Partner-Key": token}) as response:
        assert response.status == 401
    async with service.http.get("/api/partners/quota", headers={"Authorization": f"Bearer {partner.key}"}) as response:
        assert response.status == 401
    # Beside a key the header that this API never read says nothing still.
    both = {"X-Partner-Key": partner.key, "Authorization": f"Bearer {token}x"}
    async with service.http.get("/api/partners/quota", headers=both) as response:
        assert response.status == 200


async def test_an_account_acts_for_tenants_that_are_there_and_belong_together(
    service: Service, program: Owner, partner: Owner
) -> None:
    """An account that does not exist is refused like an unknown key, so refusals do not reveal which ones do."""
    others = await service.program(name="Theirs")
    gone = await service.partner(program, name="Gone")
    assert (await service.send("DELETE", f"/v1/partners/{gone.id}", program.key)).status == 200
    unknown = whole(await service.send("GET", "/api/partners/quota", "a.b.c"))
    nobody = Owner(str(uuid.uuid4()), "", "")
    for program_, partner_ in ((others, partner), (nobody, partner), (program, nobody), (program, gone)):
        token = account_of(service, program_, partner_)
        assert whole(await service.send("GET", "/api/partners/quota", token)) == unknown
    assert (await service.send("GET", "/v1/coupons", account_of(service, nobody))).status == 401
    # A partner that is suspended is refused where its key would be, and not before.
    await service.send("POST", f"/v1/partners/{partner.id}/suspend", program.key)
    token = account_of(service, program, partner)
    assert (await service.send("GET", "/api/partners/quota", token)).status == 200
    assert (await service.send("POST", GENERATE, token)).body["error_code"] == "partner_inactive"


async def test_who_is_archived_is_out_within_five_seconds(service: Service, program: Owner, partner: Owner) -> None:
    token = account_of(service, program, partner)
    assert (await service.send("GET", "/api/partners/quota", token)).status == 200
    await service.send("DELETE", f"/v1/partners/{partner.id}", program.key)
    service.clock.advance(seconds=5.1)
    assert (await service.send("GET", "/api/partners/quota", token)).status == 401


async def test_a_token_states_the_mode(service: Service, program: Owner, partner: Owner) -> None:
    test = DASHBOARD.token("codes", service.clock(), program_id=program.id, mode="test")
    for token, is_test in ((test, True), (account_of(service, program), False)):
        made = await service.send("POST", "/v1/coupons", token, {**COUPON, "uuid_code": f"test-{is_test}"})
        assert made.status == 201, made.body
        listed = [each["uuid_code"] for each in (await service.send("GET", "/v1/coupons", token)).data]
        assert f"test-{is_test}" in listed
        assert f"test-{not is_test}" not in listed
    assert (await service.send("PATCH", f"/v1/programs/{program.id}", test, {"name": "X"})).status == 403


async def test_the_audit_log_names_the_account(service: Service, program: Owner) -> None:
    merchant, operator = uuid.uuid4(), uuid.uuid4()
    by = {
        merchant: DASHBOARD.token("codes", service.clock(), program_id=program.id, account_id=merchant),
        operator: DASHBOARD.token("codes", service.clock(), "operator", account_id=operator),
    }
    for account_id, token in by.items():
        changed = await service.send(
            "PATCH", f"/v1/programs/{program.id}", token, {"link_url": f"https://{account_id}.example/"}
        )
        assert changed.status == 200, changed.body
        log = await service.send("GET", f"/v1/audit-log?account_id={account_id}", token)
        assert [(each["actor"], each["action"]) for each in log.data] == [(f"account {account_id}", "program.updated")]
        assert (await service.send("GET", f"/v1/audit-log?key_id={account_id}", token)).data == []


async def test_what_an_account_makes_goes_back_to_it(service: Service, program: Owner) -> None:
    account_id = uuid.uuid4()
    token = DASHBOARD.token("codes", service.clock(), program_id=program.id, account_id=account_id)
    key = await service.send("POST", f"/v1/programs/{program.id}/keys", token, {"purpose": "shop"})
    assert key.data["made_by"] == str(account_id)
    made = await service.send("GET", f"/v1/keys?made_by={account_id}", token)
    assert [each["id"] for each in made.data] == [key.data["id"]]
    await service.send("POST", "/v1/coupons", token, {**COUPON, "uuid_code": "ten"})
    code = await service.send("POST", "/v1/promotion-codes", token, {"coupon_uuid": "ten", "code": "TEN"})
    assert code.data["created_by_key_id"] == str(account_id), code.body


async def test_an_answer_with_a_secret_is_given_again_to_the_same_account_only(service: Service) -> None:
    program = await service.program()
    tokens = [account_of(service, program), account_of(service, program)]
    path = f"/v1/programs/{program.id}/keys"
    asked = [
        await service.send("POST", path, token, {"purpose": "shop"}, idempotency="key-of-the-shop")
        for token in (tokens[0], tokens[0], tokens[1])
    ]
    assert [each.status for each in asked] == [201, 201, 201]
    assert asked[0].data["key"] == asked[1].data["key"] != asked[2].data["key"]


class TestMinting:
    async def test_a_partner_s_account_mints_as_a_key_does(
        self, service: Service, program: Owner, partner: Owner
    ) -> None:
        account_id = uuid.uuid4()
        token = DASHBOARD.token(
            *("codes", service.clock(), "partner"),
            program_id=program.id,
            partner_id=partner.id,
            account_id=account_id,
        )
        minted = await service.send("POST", GENERATE, token)
        assert minted.status == 200, minted.body
        assert minted.headers["RateLimit"].startswith('"default";r=99;')
        named = await service.send("POST", GENERATE, token, {"reference": "a name"})
        assert (named.status, named.body["codes_remaining"]) == (200, 8)
        ledger = await service.send("GET", f"/v1/partners/{partner.id}/quota/ledger", program.key)
        assert [each["actor"] for each in ledger.data[:2]] == [f"account {account_id}"] * 2
        code = await service.send("GET", f"/v1/promotion-codes/{minted.body['code']}", program.key)
        assert code.data["created_by_key_id"] == str(account_id)

    async def test_beside_keys_each_is_named_for_what_it_is(
        self, service: Service, program: Owner, partner: Owner
    ) -> None:
        """One row of the ledger stands for a group, whatever its members, in either statement."""
        token = account_of(service, program, partner)
        account_id = DASHBOARD.keys.read(token, "codes", service.clock())[0].id  # type: ignore[index]
        await service.send("POST", GENERATE, token)
        for body in (None, {"reference": "twice"}):
            await asyncio.gather(*(service.send("POST", GENERATE, each, body) for each in (token, partner.key) * 2))
        ledger = await service.send("GET", f"/v1/partners/{partner.id}/quota/ledger", program.key)
        actors = {each["actor"] for each in ledger.data if each["kind"] == "mint"}
        assert actors <= {
            f"key {partner.key_id}",
            f"account {account_id}",
            f"key {partner.key_id} account {account_id}",
        }
        assert f"key {partner.key_id}" in " ".join(actors)
        assert f"account {account_id}" in " ".join(actors)

    async def test_its_rate_is_one_in_all_processes_partners_and_modes(
        self, service: Service, second: Service, program: Owner, partner: Owner
    ) -> None:
        other = await service.partner(program, quota=50, name="Other")
        await service.move(partner.id, amount=200)
        account_id = uuid.uuid4()
        for number in range(101):
            asked = await (service, second)[number % 2].send(
                "POST",
                GENERATE,
                DASHBOARD.token(
                    *("codes", service.clock(), "partner"),
                    program_id=program.id,
                    partner_id=(partner, other)[number % 3 == 0].id,
                    account_id=account_id,
                ),
            )
            assert asked.status == (200 if number < 100 else 429), asked.body

    async def test_its_row_is_no_key(self, service: Service, program: Owner, partner: Owner) -> None:
        account_id = uuid.uuid4()
        token = DASHBOARD.token(
            *("codes", service.clock(), "partner"),
            program_id=program.id,
            partner_id=partner.id,
            account_id=account_id,
        )
        assert (await service.send("POST", GENERATE, token)).status == 200
        path = f"/v1/partners/{partner.id}/keys"
        listed = (await service.send("GET", path, program.key)).data
        assert [each["id"] for each in listed] == [partner.key_id]
        for method, tail in (("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
            body = {"name": "x"} if method == "PATCH" else None
            assert (await service.send(method, f"{path}/{account_id}{tail}", program.key, body)).status == 404
        # Nor does the end of one partner end the account at another.
        other = await service.partner(program, quota=1, name="Other")
        assert (await service.send("DELETE", f"/v1/partners/{partner.id}", program.key)).status == 200
        elsewhere = DASHBOARD.token(
            *("codes", service.clock(), "partner"),
            program_id=program.id,
            partner_id=other.id,
            account_id=account_id,
        )
        assert (await service.send("POST", GENERATE, elsewhere)).status == 200


@pytest.mark.parametrize("thing", ["coupon", "code"])
async def test_redeeming_by_a_change_takes_a_key_and_changes_nothing_without(
    service: Service, program: Owner, thing: str
) -> None:
    """The token is for this service only, so it cannot be handed on to the one that redeems."""
    token = account_of(service, program)
    await service.send("POST", "/v1/coupons", token, {**COUPON, "uuid_code": "ten"})
    await service.send("POST", "/v1/promotion-codes", token, {"coupon_uuid": "ten", "code": "TEN"})
    redeeming = {"active": False, "redeem": True, "transaction_key": "order-1"}
    path, names = {
        "coupon": ("/v1/coupons", {"uuid_code": "ten"}),
        "code": ("/v1/promotion-codes", {"code": "TEN"}),
    }[thing]
    refused = await service.send("PUT", path, token, redeeming | names)
    assert (refused.status, refused.body["code"]) == (403, "api_key_required"), refused.body
    left = await service.send("GET", f"{path}/ten", token)
    assert left.data["active"] is True
    assert (await service.send("GET", "/v1/redemption-path", token)).body["code"] == "api_key_required"


async def test_a_request_bears_the_id_that_its_token_gives_it(service: Service, program: Owner) -> None:
    token = DASHBOARD.token("codes", service.clock(), program_id=program.id, request_id="page-view-4711")
    for path, status in (("/v1/coupons", 200), ("/v1/coupons/missing", 404), ("/v1/programs", 403)):
        answer = await service.send("GET", path, token)
        assert (answer.status, answer.headers["X-Request-Id"]) == (status, "page-view-4711")


async def test_ids_of_test_tenants_are_nobody_s(service: Service, program: Owner) -> None:
    token = DASHBOARD.token("codes", service.clock(), program_id=in_mode(uuid.UUID(program.id), test=True))
    assert (await service.send("GET", "/v1/coupons", token)).status == 401


async def test_an_operator_s_account_reaches_what_the_token_reaches(service: Service, partner: Owner) -> None:
    look, change = (account_of(service, None, None, "operator", grade) for grade in ("look", "change"))
    for path in ("/v1/programs", f"/v1/partners/{partner.id}", "/v1/operator/codes/dead-letters"):
        expected = await service.send("GET", path, OPERATOR_TOKEN)
        for token in (look, change):
            shown = await service.send("GET", path, token)
            assert (shown.status, shown.raw) == (200, expected.raw)
    suspend = f"/v1/partners/{partner.id}/suspend"
    assert (await service.send("POST", suspend, look)).body["code"] == "look_only"
    assert (await service.send("POST", suspend, change)).data["status"] == "suspended"
