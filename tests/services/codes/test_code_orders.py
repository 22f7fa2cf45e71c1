"""Orders of codes over HTTP: placed, listed, decided, granted once, and refused with a reason."""

import json
import uuid

import pytest

from services.codes.domain.code_orders import MOST_PENDING
from tests.accounts import DASHBOARD
from tests.databases import Database
from tests.services.codes.code_orders import OF_PARTNER, OF_PROGRAM, act, grants, place, quota_of
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.test_access import account_of


async def test_an_order_goes_its_way_from_the_partner_to_its_quota(
    service: Service, program: Owner, partner: Owner, database: Database
) -> None:
    body = {"count": 500, "reference": "PO-1", "note": "For spring"}
    placed = await service.send("POST", OF_PARTNER, partner.key, body)
    assert placed.status == 201
    order_id = placed.body["id"]
    assert placed.body == {
        **body,
        "ok": True,
        "id": order_id,
        "state": "pending",
        "reason": None,
        "placed_by": f"key {partner.key_id}",
        "created_at": placed.body["created_at"],
        "decided_at": None,
        "is_test": False,
    }
    assert (await quota_of(service, partner))["remaining"] == 10
    [listed] = (await service.send("GET", OF_PROGRAM, program.key)).data
    assert (listed["id"], listed["partner_id"], listed["state"]) == (order_id, partner.id, "pending")
    approved = await act(service, order_id, "approve", program)
    assert (approved.status, approved.data["state"]) == (200, "approved")
    assert approved.data["decided_by"] == f"key {program.key_id}"
    assert (await quota_of(service, partner))["remaining"] == 510
    shown = await service.send("GET", f"{OF_PARTNER}/{order_id}", partner.key)
    assert (shown.body["state"], "decided_by" in shown.body) == ("approved", False)
    ledger = (await service.send("GET", f"/v1/partners/{partner.id}/quota/ledger", program.key)).data
    assert (ledger[0]["code_order_id"], ledger[0]["amount"], ledger[0]["reason"]) == (order_id, 500, "Code order PO-1")
    assert ledger[0]["actor"] == f"key {program.key_id}"
    assert ledger[1]["code_order_id"] is None
    assert await grants(database, order_id) == [500]


async def test_a_refused_mint_works_directly_after_the_grant_with_the_same_key_too(
    service: Service, second: Service, program: Owner
) -> None:
    """The partner must not have to wait, nor to find another key for its retry."""
    partner = await service.partner(program)
    refused = [await each.generate(partner, idempotency) for each in (service, second) for idempotency in (None, "k")]
    assert {(each.status, each.body["error"]) for each in refused} == {(403, "No codes remaining")}
    await act(service, await place(service, partner, 3), "approve", program)
    minted = [await each.generate(partner, idempotency) for each in (second, service) for idempotency in ("k", None)]
    assert [each.status for each in minted] == [200] * 4
    assert minted[0].body == minted[2].body
    assert (await service.generate(partner)).body["error"] == "No codes remaining"


class TestPlacing:
    async def test_a_repeat_by_reference_gets_the_same_order_in_whatever_state_it_is(
        self, service: Service, program: Owner, partner: Owner
    ) -> None:
        order_id = await place(service, partner, 7, reference="PO-1")
        for state in ("pending", "approved"):
            again = await service.send("POST", OF_PARTNER, partner.key, {"count": 7, "reference": "PO-1"})
            assert (again.status, again.body["id"], again.body["state"]) == (200, order_id, state)
            await act(service, order_id, "approve", program)
        other = await service.send("POST", OF_PARTNER, partner.key, {"count": 8, "reference": "PO-1"})
        assert (other.status, other.body["error_code"]) == (422, "reference_taken")
        text = "The reference field is taken; the order with this reference is for 7 codes."
        assert other.body["errors"] == {"reference": [text]}
        elsewhere = await service.partner(program, name="Other")
        assert await place(service, elsewhere, 8, reference="PO-1") != order_id

    async def test_a_repeat_by_idempotency_key_gets_the_first_answer(self, service: Service, partner: Owner) -> None:
        placed = [
            await service.send("POST", OF_PARTNER, partner.key, {"count": 7}, idempotency="once") for _ in range(2)
        ]
        assert placed[0].raw == placed[1].raw
        assert placed[1].headers["Idempotent-Replayed"] == "true"
        other = await service.send("POST", OF_PARTNER, partner.key, {"count": 8}, idempotency="once")
        assert (other.status, other.body["error_code"]) == (422, "idempotency_key_reused")

    @pytest.mark.parametrize("count", [0, -1, 1_000_001, 10**30, 1.5, "7", None])
    async def test_a_number_out_of_bounds_is_refused_by_name(
        self, service: Service, partner: Owner, count: object
    ) -> None:
        refused = await service.send("POST", OF_PARTNER, partner.key, {"count": count})
        assert (refused.status, refused.body["error_code"], [*refused.body["errors"]]) == (
            422,
            "invalid_fields",
            ["count"],
        )

    async def test_a_program_that_sells_packs_takes_orders_of_these_alone(
        self, service: Service, program: Owner, partner: Owner
    ) -> None:
        path = f"/v1/programs/{program.id}"
        for packs in ([0], [5, 5], list(range(1, 22)), ["5"], [1_000_001]):
            refused = await service.send("PATCH", path, program.key, {"code_packs": packs})
            assert (refused.status, next(iter(refused.body["errors"])).partition(".")[0]) == (422, "code_packs")
        changed = await service.send("PATCH", path, program.key, {"code_packs": [500, 100]})
        assert changed.data["code_packs"] == [100, 500]
        me = await service.send("GET", "/api/partners/me", partner.key)
        assert me.body["program"]["code_packs"] == [100, 500]
        refused = await service.send("POST", OF_PARTNER, partner.key, {"count": 101})
        assert (refused.status, refused.body["error_code"]) == (422, "not_a_code_pack")
        assert refused.body["errors"] == {"count": ["The count field must be the number of codes of a pack: 100, 500."]}
        order_id = await place(service, partner, 500, reference="PO-1")
        await service.send("PATCH", path, program.key, {"code_packs": []})
        await place(service, partner, 101)
        await service.send("PATCH", path, program.key, {"code_packs": [100]})
        again = await service.send("POST", OF_PARTNER, partner.key, {"count": 500, "reference": "PO-1"})
        assert (again.status, again.body["id"]) == (200, order_id)

    async def test_a_partner_has_a_bounded_number_of_pending_orders(
        self, service: Service, program: Owner, partner: Owner
    ) -> None:
        orders = [await place(service, partner) for _ in range(MOST_PENDING)]
        refused = await service.send("POST", OF_PARTNER, partner.key, {"count": 1})
        assert (refused.status, refused.body["error_code"]) == (409, "too_many_pending_code_orders")
        assert str(MOST_PENDING) in refused.body["error"]
        await place(service, await service.partner(program, name="Other"))
        await act(service, orders[0], "cancel", partner)
        await place(service, partner)

    @pytest.mark.parametrize("status", ["suspended", "pending"])
    async def test_a_partner_that_is_not_active_orders_nothing(
        self, service: Service, program: Owner, status: str
    ) -> None:
        partner = await service.partner(program, status=status)
        refused = await service.send("POST", OF_PARTNER, partner.key, {"count": 1})
        assert (refused.status, refused.body["error_code"]) == (403, "partner_inactive")
        assert refused.body["error"] == "Partner account is not active"


class TestDeciding:
    async def test_a_refusal_has_a_reason_that_the_partner_sees(
        self, service: Service, program: Owner, partner: Owner, database: Database
    ) -> None:
        order_id = await place(service, partner)
        for body in ({}, {"reason": " "}, {"reason": "x" * 1001}):
            wrong = await service.send("POST", f"{OF_PROGRAM}/{order_id}/refuse", program.key, body)
            assert (wrong.status, [*wrong.body["errors"]]) == (422, ["reason"])
        assert (await act(service, order_id, "refuse", program)).data["state"] == "refused"
        shown = await service.send("GET", f"{OF_PARTNER}/{order_id}", partner.key)
        assert (shown.body["state"], shown.body["reason"]) == ("refused", "Not now.")
        assert await grants(database, order_id) == []

    @pytest.mark.parametrize("first", ["approve", "refuse", "cancel"])
    @pytest.mark.parametrize("then", ["approve", "refuse", "cancel"])
    async def test_a_repeat_changes_nothing_and_another_decision_is_refused(
        self, service: Service, program: Owner, partner: Owner, database: Database, first: str, then: str
    ) -> None:
        order_id = await place(service, partner, 5)
        owners = {"cancel": partner}
        done = await act(service, order_id, first, owners.get(first, program))
        assert done.status == 200, done.body
        repeated = await act(service, order_id, then, owners.get(then, program))
        if first == then:
            assert (repeated.status, repeated.raw) == (200, done.raw)
        else:
            code = repeated.body.get("code") or repeated.body["error_code"]
            assert (repeated.status, code) == (409, "code_order_decided")
        assert await grants(database, order_id) == ([5] if first == "approve" else [])
        assert (await quota_of(service, partner))["remaining"] == 10 + 5 * (first == "approve")

    async def test_an_order_of_a_partner_that_is_not_active_waits_or_is_refused(
        self, service: Service, program: Owner, partner: Owner, database: Database
    ) -> None:
        one, two = await place(service, partner), await place(service, partner)
        await service.send("POST", f"/v1/partners/{partner.id}/suspend", program.key)
        refused = await act(service, one, "approve", program)
        assert (refused.status, refused.body["code"]) == (409, "partner_inactive")
        await service.send("POST", f"/v1/partners/{partner.id}/approve", program.key)
        assert (await act(service, one, "approve", program)).status == 200
        await service.send("DELETE", f"/v1/partners/{partner.id}", program.key)
        assert (await act(service, two, "approve", program)).body["code"] == "partner_inactive"
        assert (await act(service, two, "refuse", program)).status == 200
        assert await grants(database, two) == []

    async def test_a_replayed_approval_answers_as_the_first(
        self, service: Service, program: Owner, partner: Owner, database: Database
    ) -> None:
        order_id = await place(service, partner)
        done = [await act(service, order_id, "approve", program, idempotency="a") for _ in range(3)]
        assert len({each.raw for each in done}) == 1
        assert await grants(database, order_id) == [100]


class TestLists:
    async def test_what_is_pending_comes_first_and_pages_hold_each_order_once(
        self, service: Service, program: Owner, partner: Owner
    ) -> None:
        orders = [await place(service, partner) for _ in range(9)]
        for order_id in orders[5:]:
            await act(service, order_id, "approve", program)
        expected = [*reversed(orders[:5]), *reversed(orders[5:])]
        for path, key, member in ((OF_PROGRAM, program.key, "data"), (OF_PARTNER, partner.key, "orders")):
            found: list[str] = []
            cursor: str | None = ""
            while cursor is not None:
                page = (await service.send("GET", f"{path}?limit=2{cursor}", key)).body
                found += [each["id"] for each in page[member]]
                following = page.get("meta", page)["next_cursor"]
                cursor = None if following is None else f"&cursor={following}"
            assert found == expected

    async def test_every_filter_leaves_out_what_does_not_match(
        self, service: Service, program: Owner, partner: Owner
    ) -> None:
        other = await service.partner(program, name="Other")
        old = await place(service, partner, reference="PO-1")
        service.clock.advance(days=2)
        middle = service.clock().isoformat().replace("+00:00", "Z")
        new, theirs = await place(service, partner, reference="PO-2"), await place(service, other, reference="PO-1")
        await act(service, new, "refuse", program)
        for query, expected in {
            "state=refused": [new],
            "state=pending": [theirs, old],
            "state=paid": [],
            f"partner_id={partner.id}": [old, new],
            f"partner_id={uuid.uuid4()}": [],
            "reference=PO-1": [theirs, old],
            f"reference=PO-1&partner_id={partner.id}": [old],
            "reference=PO-1&state=refused": [],
            f"from={middle}": [theirs, new],
            f"to={middle}&state=pending": [theirs, old],
            "to=2020-01-01": [],
        }.items():
            found = await service.send("GET", f"{OF_PROGRAM}?{query}", program.key)
            assert [each["id"] for each in found.data] == expected, query
            assert found.body["meta"]["next_cursor"] is None
        mine = await service.send("GET", f"{OF_PARTNER}?reference=PO-1", partner.key)
        assert [each["id"] for each in mine.body["orders"]] == [old]
        for query, field in (("state=open", "state"), ("from=2026-02-02&to=2026-02-01", "to"), ("cursor=x", "cursor")):
            refused = await service.send("GET", f"{OF_PROGRAM}?{query}", program.key)
            assert (refused.status, field in refused.body["errors"]) == (422, True)


async def test_events_and_audit_log_say_what_was_done_and_by_whom(
    service: Service, program: Owner, partner: Owner
) -> None:
    account_id = uuid.uuid4()
    merchant = DASHBOARD.token("codes", service.clock(), program_id=program.id, account_id=account_id)
    orders = [await place(service, partner, count, note="n") for count in (1, 2, 3)]
    await service.send("POST", f"{OF_PROGRAM}/{orders[0]}/approve", merchant)
    await act(service, orders[1], "refuse", program)
    await act(service, orders[2], "cancel", partner)
    told = [(each.type, json.loads(each.body)["data"]) for each in service.handed_over]
    told = [(type_, data) for type_, data in told if type_.startswith("code_order.")]
    assert [type_ for type_, _ in told] == [
        *["code_order.created"] * 3,
        "code_order.granted",
        "code_order.refused",
        "code_order.cancelled",
    ]
    assert [data["code_order_id"] for _, data in told] == orders * 2
    assert {(data["program_id"], data["partner_id"]) for _, data in told} == {(program.id, partner.id)}
    assert (told[3][1]["codes_remaining"], told[3][1]["is_paid"], told[4][1]["reason"]) == (11, False, "Not now.")
    log = (await service.send("GET", "/v1/audit-log?object_type=code_order", program.key)).data
    assert [(each["action"], each["actor"]) for each in reversed(log)] == [
        *[("code_order.created", f"key {partner.key_id}")] * 3,
        ("code_order.approved", f"account {account_id}"),
        ("code_order.refused", f"key {program.key_id}"),
        ("code_order.cancelled", f"key {partner.key_id}"),
    ]
    assert log[1]["changes"]["reason"] == {"from": None, "to": "Not now."}
    granted = await service.send("GET", f"/v1/audit-log?object_type=quota&account_id={account_id}", program.key)
    assert [each["changes"]["granted"]["to"] for each in granted.data] == [11]


async def test_accounts_do_what_their_grade_lets_them(service: Service, program: Owner, partner: Owner) -> None:
    """An account that may only look places, cancels and decides nothing."""
    mine, look = account_of(service, program, partner), account_of(service, program, partner, "partner", "look")
    placed = await service.send("POST", OF_PARTNER, mine, {"count": 5})
    assert (placed.status, placed.body["placed_by"].split()[0]) == (201, "account")
    order_id = placed.body["id"]
    assert [each["id"] for each in (await service.send("GET", OF_PARTNER, look)).body["orders"]] == [order_id]
    assert (await service.send("POST", OF_PARTNER, look, {"count": 5})).status == 403
    assert (await service.send("POST", f"{OF_PARTNER}/{order_id}/cancel", look)).status == 403
    watching = account_of(service, program, None, "merchant", "look")
    assert [each["id"] for each in (await service.send("GET", OF_PROGRAM, watching)).data] == [order_id]
    for name, body in (("approve", None), ("refuse", {"reason": "No."})):
        refused = await service.send("POST", f"{OF_PROGRAM}/{order_id}/{name}", watching, body)
        assert (refused.status, refused.body["code"]) == (403, "look_only")
    assert (await service.send("POST", f"{OF_PARTNER}/{order_id}/cancel", mine)).body["state"] == "cancelled"


async def test_an_order_of_test_mode_grants_test_codes_only(
    service: Service, program: Owner, partner: Owner, database: Database
) -> None:
    own = await service.with_key(f"/v1/programs/{program.id}", mode="test", purpose="test")
    theirs = await service.with_key(f"/v1/partners/{partner.id}", mode="test", purpose="test")
    order_id = await place(service, theirs, 5)
    assert (await act(service, order_id, "approve", program)).status == 404
    assert (await service.send("GET", OF_PROGRAM, program.key)).data == []
    approved = await act(service, order_id, "approve", own)
    assert (approved.data["partner_id"], approved.data["is_test"]) == (partner.id, True)
    assert (await quota_of(service, theirs))["remaining"] == 1005
    assert (await quota_of(service, partner))["remaining"] == 10
    assert await grants(database, order_id) == [5]
    told = [json.loads(each.body)["data"] for each in service.handed_over if each.type.startswith("code_order.")]
    assert {(data["partner_id"], data["is_test"]) for data in told} == {(partner.id, True)}


async def test_orders_that_came_to_nothing_go_after_a_time_and_granted_ones_stay(
    service: Service, program: Owner, partner: Owner
) -> None:
    orders = [await place(service, partner, reference=str(number)) for number in range(4)]
    for order_id, name in zip(orders[1:], ("approve", "refuse", "cancel"), strict=True):
        await act(service, order_id, name, partner if name == "cancel" else program)
    service.clock.advance(days=399)
    assert await service.purge() == 0
    service.clock.advance(days=1)
    assert await service.purge() == 2
    left = (await service.send("GET", OF_PROGRAM, program.key)).data
    assert [each["id"] for each in left] == orders[:2]
    await place(service, partner, reference="2")
