"""Promotion codes over HTTP: made, found in any spelling, listed by every filter, changed and archived."""

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.databases import Database
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.redemptions import redeem

COUPON: Mapping[str, Any] = {
    "coupon_discount_type": "percent",
    "coupon_discount_amount": 10,
    "coupon_duration_type": "once",
}
CODES = "/v1/promotion-codes"


async def coupon(service: Service, program: Owner, uuid_code: str = "spring", **members: Any) -> str:
    made = await service.send("POST", "/v1/coupons", program.key, {**COUPON, "uuid_code": uuid_code, **members})
    assert made.status == 201, made.body
    return str(made.data["id"])


async def create(service: Service, program: Owner, uuid_code: str = "spring", **members: Any) -> Any:
    made = await service.send("POST", CODES, program.key, {"coupon_uuid": uuid_code, **members})
    assert made.status == 201, made.body
    assert (made.body["status"], made.body["message"]) == (1, "Promotion code created in the app successfully.")
    return made.data


async def listed(service: Service, program: Owner, query: str = "") -> list[str]:
    answer = await service.send("GET", f"{CODES}?{query}", program.key)
    assert answer.status == 200, answer.body
    return [code["code"] for code in answer.data]


async def test_a_code_is_made_with_every_parameter_and_shown_with_its_coupon(
    service: Service, program: Owner, partner: Owner
) -> None:
    await coupon(service, program)
    members: dict[str, Any] = {
        "code": "Spring-20",
        "active": False,
        "first_time_order": True,
        "limit_to_specific_partner": True,
        "coupon_specific_partners": {"id": partner.id, "full_name": "Prefix"},
        "limit_to_specific_customer": True,
        "coupon_specific_customers": {"id": "customer-1", "customer_full_name": "Sarah"},
        "limit_to_specific_subscriber": False,
        "coupon_specific_subscribers": [],
        "minimum_order_status": True,
        "minimum_order_value": 19.5,
        "minimum_order_currency": "EUR",
        "expiration_date_status": True,
        "expiration_date_value": "2030-01-31T10:00:00.000000Z",
        "redemption_times_status": True,
        "redemption_times_value": 3,
        "metadata": {"channel": "mail"},
        "external_id": "promo_1",
        "starts_at": "2030-01-01T00:00:00.000000Z",
        "partner_only": True,
        "commission_percent": 12.5,
    }
    made = await create(service, program, **members)
    assert {name: made[name] for name in members} == members
    assert (made["coupon"]["uuid_code"], made["coupon"]["coupon_discount_amount"]) == ("spring", 10)
    assert (made["partner_id"], made["is_auto_generated"], made["times_redeemed"]) == (partner.id, False, 0)
    assert made["url"] == "https://cinematiccard.com/?promo=Spring-20"
    assert "promotion_codes" not in made["coupon"]


async def test_a_code_says_nothing_more_than_its_coupon_unless_told(service: Service, program: Owner) -> None:
    await coupon(service, program)
    made = await create(service, program)
    assert len(made["code"]) == 8
    assert made["is_auto_generated"]
    assert (made["coupon_specific_partners"], made["coupon_specific_customers"], made["metadata"]) == ([], [], [])
    assert not made["minimum_order_status"]
    assert (made["redemption_times_status"], made["expiration_date_value"]) == (False, None)


async def test_a_generated_code_bears_its_partner_s_prefix(service: Service, program: Owner, partner: Owner) -> None:
    await coupon(service, program)
    owner: dict[str, Any] = {"limit_to_specific_partner": True, "coupon_specific_partners": [{"id": partner.id}]}
    assert (await create(service, program, **owner))["code"].startswith("PREFIX-")


async def test_a_code_is_one_whatever_its_spelling(service: Service, program: Owner) -> None:
    await coupon(service, program)
    made = await create(service, program, code="LOOK-10")
    assert made["code"] == "LOOK-10"
    for spelling in ("look10", "l00k1O", "%20LOOK%20-%2010", "\uff2c\uff2f\uff2f\uff2b10", made["id"]):
        found = await service.send("GET", f"{CODES}/{spelling}", program.key)
        assert (found.status, found.data) == (200, made), spelling
    refused = await service.send("POST", CODES, program.key, {"coupon_uuid": "spring", "code": "I00K_IO"})
    assert (refused.status, refused.body["code"]) == (422, "code_taken")
    other = await service.program(name="Other")
    await coupon(service, other)
    await create(service, other, code="LOOK-10")


async def test_of_many_who_want_one_string_one_gets_it(service: Service, program: Owner) -> None:
    await coupon(service, program)
    body = {"coupon_uuid": "spring", "code": "WANTED"}
    replies = await asyncio.gather(*(service.send("POST", CODES, program.key, body) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [201] + [422] * 7


async def test_what_a_code_cannot_be_is_named(service: Service, program: Owner) -> None:
    await coupon(service, program)
    other = await service.program(name="Other")
    stranger = await service.partner(other)
    impossible: list[tuple[str, dict[str, Any]]] = [
        ("coupon_uuid", {"coupon_uuid": "summer"}),
        ("coupon_uuid", {"coupon_uuid": None}),
        ("code", {"code": "A" * 101}),
        ("code", {"code": "---"}),
        ("code", {"code": "A/B"}),
        ("coupon_specific_partners", {"limit_to_specific_partner": True}),
        ("coupon_specific_partners", {"coupon_specific_partners": {"id": stranger.id}}),
        (
            "coupon_specific_partners.id",
            {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": stranger.id}},
        ),
        (
            "coupon_specific_partners.id",
            {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": "nobody"}},
        ),
        (
            "coupon_specific_partners",
            {"limit_to_specific_partner": True, "coupon_specific_partners": [{"id": "1"}, {"id": "2"}]},
        ),
        ("coupon_specific_customers", {"limit_to_specific_customer": True}),
        ("limit_to_specific_subscriber", {"limit_to_specific_subscriber": True}),
        ("minimum_order_value", {"minimum_order_status": True}),
        ("minimum_order_value", {"minimum_order_status": True, "minimum_order_value": 0.001}),
        ("expiration_date_value", {"expiration_date_status": True}),
        ("redemption_times_value", {"redemption_times_status": True, "redemption_times_value": 0}),
        ("redeem_now", {"redeem_now": True}),
    ]
    for field, members in impossible:
        body = {name: value for name, value in {"coupon_uuid": "spring", **members}.items() if value is not None}
        refused = await service.send("POST", CODES, program.key, body)
        assert (refused.status, list(refused.body["errors"])) == (422, [field]), members
    assert await listed(service, program) == []


async def test_codes_are_listed_by_every_filter_alone_and_together(
    service: Service, program: Owner, partner: Owner
) -> None:
    spring = await coupon(service, program)
    await coupon(service, program, "summer")
    other = await service.partner(program, name="Other", email="other@acme.example")
    of: dict[str, dict[str, Any]] = {
        owner.id: {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": owner.id}}
        for owner in (partner, other)
    }
    await create(service, program, code="A", **of[partner.id], external_id="x1")
    await create(service, program, code="B", **of[other.id], active=False)
    await create(
        service,
        program,
        "summer",
        code="C",
        **of[partner.id],
        limit_to_specific_customer=True,
        coupon_specific_customers={"id": "c1"},
    )
    await create(service, program, "summer", code="D")
    for query, codes in (
        ("", "DCBA"),
        ("coupon_id=spring", "BA"),
        (f"coupon_id={spring}", "BA"),
        ("coupon_id=autumn", ""),
        (f"partner_id={partner.id}", "CA"),
        (f"partner_id={partner.id}&coupon_id=summer", "C"),
        (f"partner_id={partner.id}&partner_email=other@acme.example", ""),
        ("partner_id=nobody", ""),
        ("partner_email=DEV@acme.example", "CA"),
        ("partner_email=nobody@acme.example", ""),
        ("customer_id=c1", "C"),
        ("customer_id=c1&coupon_id=spring", ""),
        ("external_id=x1", "A"),
        ("external_id=x1&coupon_id=summer", ""),
        ("code=a", "A"),
        ("code=a&external_id=x1", "A"),
        ("code=b&external_id=x1", ""),
        ("active=true", "DCA"),
        ("active=false&coupon_id=spring", "B"),
    ):
        assert "".join(await listed(service, program, query)) == codes, query
    stranger = await service.program(name="Stranger")
    for query in ("", f"coupon_id={spring}", f"partner_id={partner.id}", "external_id=x1", "code=A", "customer_id=c1"):
        assert await listed(service, stranger, query) == []


async def test_pages_by_number_and_by_cursor_show_each_code_once(service: Service, program: Owner) -> None:
    await coupon(service, program, promotion_codes=[f"C{number}" for number in range(5)])
    first = await service.send("GET", f"{CODES}?limit=2&coupon_id=spring", program.key)
    base = CODES
    assert list(first.body) == ["data", "links", "meta", "status"]
    assert first.body["links"] == {
        "first": f"{base}?limit=2&coupon_id=spring&page=1",
        "last": None,
        "prev": None,
        "next": f"{base}?limit=2&coupon_id=spring&page=2",
    }
    assert first.body["meta"] == {
        "current_page": 1,
        "from": 1,
        "path": base,
        "per_page": 2,
        "to": 2,
        "next_cursor": first.body["meta"]["next_cursor"],
    }
    assert first.body["status"] == 1
    for way in ("links", "cursor"):
        seen, answer = [], first
        while True:
            seen += [code["code"] for code in answer.data]
            url = answer.body["links"]["next"]
            if way == "cursor" and (cursor := answer.body["meta"]["next_cursor"]):
                url = f"{base}?limit=2&coupon_id=spring&cursor={cursor}"
            if url is None:
                break
            answer = await service.send("GET", url, program.key)
        assert seen == [f"C{number}" for number in range(5)], way
    last = await service.send("GET", f"{CODES}?limit=2&page=3&coupon_id=spring", program.key)
    assert (last.body["meta"]["from"], last.body["meta"]["to"]) == (5, 5)
    beyond = await service.send("GET", f"{CODES}?limit=2&page=4&coupon_id=spring", program.key)
    assert (beyond.data, beyond.body["meta"]["from"], beyond.body["links"]["next"]) == ([], None, None)


async def test_a_list_refuses_what_it_cannot_mean(service: Service, program: Owner) -> None:
    for query, field in (
        ("limit=0", "limit"),
        ("limit=251", "limit"),
        ("limit=x", "limit"),
        ("page=0", "page"),
        ("page=1000", "page"),
        ("page=2&cursor=x", "page"),
        ("cursor=x", "cursor"),
        ("active=yes", "active"),
        ("status=1", "status"),
    ):
        for path in ("/v1/coupons", CODES):
            refused = await service.send("GET", f"{path}?{query}", program.key)
            assert (refused.status, list(refused.body["errors"])) == (422, [field]), (path, query)
    assert len((await service.send("GET", "/v1/coupons", program.key)).body["meta"]) == 6


async def test_a_change_changes_what_it_names(service: Service, program: Owner, partner: Owner) -> None:
    await coupon(service, program)
    made = await create(service, program, code="A", metadata={"a": 1})
    service.clock.advance(seconds=1)
    owner = {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": partner.id, "full_name": "Prefix"}}
    changed = await service.send("PUT", CODES, program.key, {"code": "a", **owner, "metadata": {"b": 2}})
    assert changed.status == 200, changed.body
    assert changed.data == made | owner | {
        "metadata": {"a": 1, "b": 2},
        "partner_id": partner.id,
        "updated_at": changed.data["updated_at"],
    }
    renamed = await service.send("PATCH", f"{CODES}/{made['id']}", program.key, {"code": "NEW", "active": False})
    assert (renamed.data["code"], renamed.data["active"]) == ("NEW", False)
    assert (await service.send("GET", f"{CODES}/A", program.key)).status == 404
    await create(service, program, code="A")
    refused = await service.send("PATCH", f"{CODES}/A", program.key, {"code": "new"})
    assert (refused.status, refused.body["code"]) == (422, "code_taken")
    stranger = await service.partner(await service.program(name="Other"))
    owner = {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": stranger.id}}
    refused = await service.send("PATCH", f"{CODES}/A", program.key, owner)
    assert (refused.status, list(refused.body["errors"])) == (422, ["coupon_specific_partners.id"])
    freed = await service.send("PATCH", f"{CODES}/NEW", program.key, {"limit_to_specific_partner": False})
    assert freed.data["partner_id"] is None


async def test_a_redemption_freezes_the_terms_and_leaves_the_rest(
    service: Service, database: Database, program: Owner, partner: Owner
) -> None:
    await coupon(service, program)
    made = await create(
        service,
        program,
        code="A",
        expiration_date_status=True,
        expiration_date_value="2030-01-31",
        redemption_times_status=True,
        redemption_times_value=5,
    )
    await redeem(database, made["id"], service.clock())
    frozen: list[dict[str, Any]] = [
        {"code": "B"},
        {"first_time_order": True},
        {"expiration_date_value": "2030-01-30"},
        {"redemption_times_value": 4},
        {"minimum_order_status": True, "minimum_order_value": 5},
        {"limit_to_specific_customer": True, "coupon_specific_customers": {"id": "c"}},
    ]
    for members in frozen:
        refused = await service.send("PATCH", f"{CODES}/A", program.key, members)
        assert (refused.status, refused.body["code"]) == (409, "terms_frozen"), members
        named = {field.partition(".")[0] for field in refused.body["errors"]}
        assert named <= {*members, "minimum_order_currency"}, members
        assert named & members.keys(), members
    free: list[dict[str, Any]] = [
        {"active": False},
        {"metadata": {"a": 1}},
        {"expiration_date_value": "2030-02-01"},
        {"redemption_times_value": 6},
        {"code": "a"},
        {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": partner.id}},
    ]
    for members in free:
        assert (await service.send("PATCH", f"{CODES}/A", program.key, members)).status == 200, members
    assert (await service.send("GET", f"{CODES}/A", program.key)).data["times_redeemed"] == 1


async def test_an_archived_code_leaves_its_string_free(service: Service, program: Owner) -> None:
    await coupon(service, program)
    await coupon(service, program, "summer")
    made = await create(service, program, code="A")
    wrong = await service.send("DELETE", CODES, program.key, {"code": "A", "coupon": {"uuid_code": "summer"}})
    assert wrong.status == 404
    gone = await service.send("DELETE", CODES, program.key, {"code": "a", "coupon": {"uuid_code": "spring"}})
    assert (gone.status, gone.data) == (
        200,
        {"status": 1, "message": "Promotion code deleted from the app successfully."},
    )
    assert await listed(service, program) == []
    assert (await service.send("DELETE", f"{CODES}/A", program.key)).status == 404
    by_id = await service.send("GET", f"{CODES}/{made['id']}", program.key)
    assert by_id.data["deleted_at"] is not None
    again = await service.send("DELETE", f"{CODES}/{made['id']}", program.key)
    assert (again.status, again.data["deleted_at"]) == (200, by_id.data["deleted_at"])
    assert (await create(service, program, code="A"))["id"] != made["id"]


async def test_a_foreign_code_answers_like_a_missing_one(service: Service, program: Owner) -> None:
    await coupon(service, program)
    made = await create(service, program, code="A")
    other = await service.program(name="Other")
    for name in ("A", made["id"]):
        for method in ("GET", "PATCH", "DELETE"):
            body = {"active": False} if method == "PATCH" else None
            answer = await service.send(method, f"{CODES}/{name}", other.key, body)
            assert (answer.status, answer.body["code"]) == (404, "not_found")
    foreign = await service.send("POST", CODES, other.key, {"coupon_uuid": made["coupon_id"]})
    assert (foreign.status, list(foreign.body["errors"])) == (422, ["coupon_uuid"])


async def test_no_code_joins_a_coupon_that_is_being_archived(service: Service, program: Owner) -> None:
    """The second transaction must see the result of the first: no live code is left under an archived coupon."""
    await coupon(service, program)
    replies = await asyncio.gather(
        *(service.send("POST", CODES, program.key, {"coupon_uuid": "spring"}) for _ in range(4)),
        service.send("DELETE", "/v1/coupons/spring", program.key),
        *(service.send("POST", CODES, program.key, {"coupon_uuid": "spring"}) for _ in range(4)),
    )
    assert {reply.status for reply in replies} <= {200, 201, 422}
    async with service.pool.connection() as connection:
        live = await connection.fetchval("SELECT count(*) FROM promotion_codes WHERE archived_at IS NULL")
    assert live == 0


async def test_a_code_shows_which_key_made_it(service: Service, program: Owner, partner: Owner) -> None:
    """By hand, along with its coupon, by a mint and by a job: after a leak its codes are found."""
    await coupon(service, program, promotion_codes=[{"code": "ALONG"}])
    made = await create(service, program, code="BY-HAND")
    assert made["created_by_key_id"] == program.key_id
    minted = (await service.generate(partner)).body["code"]
    batch = await service.send("POST", "/v1/coupons/spring/promotion-codes/batch", program.key, {"count": 1})
    makers = {"ALONG": program.key_id, "BY-HAND": program.key_id, minted: partner.key_id}
    makers[batch.data["codes"][0]] = program.key_id
    shown = (await service.send("GET", CODES, program.key)).data
    assert {code["code"]: code["created_by_key_id"] for code in shown} == makers
    one = await service.send("GET", f"{CODES}/{minted}", program.key)
    assert one.data["created_by_key_id"] == partner.key_id
    renamed = await service.send("PATCH", f"{CODES}/BY-HAND", program.key, {"active": False})
    assert renamed.data["created_by_key_id"] == program.key_id
