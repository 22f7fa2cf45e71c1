"""Partners: unique by e-mail address and prefix within their program, approved and suspended."""

import asyncio
from typing import Any

import pytest

from tests.services.codes.conftest import Owner, Service


async def test_a_partner_is_pending_and_has_nothing_until_someone_says_otherwise(
    service: Service, program: Owner
) -> None:
    made = await service.send("POST", "/v1/partners", program.key, {"name": "Café Gifts"})
    assert made.status == 201
    assert (made.data["status"], made.data["prefix"], made.data["email"]) == ("pending", "CAFEGIFTS", None)
    none = {"granted": 0, "adjusted": 0, "minted": 0, "refunded": 0, "remaining": 0}
    assert made.data["quota"] == {**none, "is_test": False}
    assert (await service.send("GET", f"/v1/partners/{made.data['id']}", program.key)).data == made.data


async def test_an_address_belongs_to_one_partner_whatever_its_capitals(service: Service, program: Owner) -> None:
    first = {"name": "One", "email": "dev@acme.example"}
    assert (await service.send("POST", "/v1/partners", program.key, first)).status == 201
    again = await service.send("POST", "/v1/partners", program.key, {"name": "Two", "email": "Dev@ACME.example"})
    assert (again.status, again.body["code"]) == (422, "email_taken")
    other = await service.program(name="Other")
    assert (await service.send("POST", "/v1/partners", other.key, first)).status == 201


async def test_an_address_at_a_domain_beyond_ascii_belongs_to_one_partner_however_it_is_written(
    service: Service, program: Owner
) -> None:
    made = await service.send("POST", "/v1/partners", program.key, {"name": "One", "email": "ana@münchen.example"})
    assert (made.status, made.data["email"]) == (201, "ana@münchen.example")
    encoded = "Ana@xn--mnchen-3ya.example"
    again = await service.send("POST", "/v1/partners", program.key, {"name": "Two", "email": encoded})
    assert (again.status, again.body["code"]) == (422, "email_taken")
    found = await service.send("GET", f"/v1/partners?email={encoded}", program.key)
    assert [each["id"] for each in found.data] == [made.data["id"]]


async def test_partners_without_an_address_do_not_clash(service: Service, program: Owner) -> None:
    for name in ("One", "Two"):
        assert (await service.send("POST", "/v1/partners", program.key, {"name": name})).status == 201


async def test_a_derived_prefix_is_made_unique(service: Service, program: Owner) -> None:
    prefixes = [
        (await service.send("POST", "/v1/partners", program.key, {"name": "Acme"})).data["prefix"] for _ in range(3)
    ]
    assert prefixes == ["ACME", "ACME2", "ACME3"]


async def test_derived_prefixes_are_unique_when_many_ask_at_once(service: Service, program: Owner) -> None:
    made = await asyncio.gather(
        *(service.send("POST", "/v1/partners", program.key, {"name": "Acme"}) for _ in range(20))
    )
    assert [reply.status for reply in made] == [201] * 20
    assert len({reply.data["prefix"] for reply in made}) == 20


async def test_a_given_prefix_is_given_or_refused(service: Service, program: Owner) -> None:
    made = await service.send("POST", "/v1/partners", program.key, {"name": "One", "prefix": "gift"})
    assert made.data["prefix"] == "GIFT"
    again = await service.send("POST", "/v1/partners", program.key, {"name": "Two", "prefix": "GIFT"})
    assert (again.status, again.body["code"]) == (422, "prefix_taken")


async def test_prefixes_that_read_the_same_cannot_coexist(service: Service, program: Owner) -> None:
    """SHOP-0A1B2C3D and SH0P-0A1B2C3D are one code to customers who type it, but would look like two partners'."""
    made = await service.send("POST", "/v1/partners", program.key, {"name": "One", "prefix": "SHOP"})
    assert made.status == 201
    for prefix in ("SH0P", "sh0p", "SHOP"):
        again = await service.send("POST", "/v1/partners", program.key, {"name": "Two", "prefix": prefix})
        assert (again.status, again.body["code"]) == (422, "prefix_taken")
    other = await service.partner(program, name="Lily")
    taken = await service.send("PATCH", f"/v1/partners/{other.id}", program.key, {"prefix": "SH0P"})
    assert (taken.status, taken.body["code"]) == (422, "prefix_taken")
    own = await service.send("PATCH", f"/v1/partners/{other.id}", program.key, {"prefix": "1I1Y"})
    assert (own.status, own.data["prefix"]) == (200, "1I1Y")
    derived = [await service.send("POST", "/v1/partners", program.key, {"name": name}) for name in ("Liiy", "Sh0p")]
    assert [reply.data["prefix"] for reply in derived] == ["LIIY2", "SH0P2"]
    foreign = await service.program(name="Other")
    assert (await service.send("POST", "/v1/partners", foreign.key, {"name": "A", "prefix": "SH0P"})).status == 201
    await service.send("DELETE", f"/v1/partners/{made.data['id']}", program.key)
    assert (await service.send("POST", "/v1/partners", program.key, {"name": "Z", "prefix": "SH0P"})).status == 201


async def test_of_confusable_prefixes_asked_for_at_once_one_is_given(service: Service, program: Owner) -> None:
    made = await asyncio.gather(
        *(
            service.send("POST", "/v1/partners", program.key, {"name": prefix, "prefix": prefix})
            for prefix in ("OIL", "0IL", "01L", "011", "OI1")
        )
    )
    assert sorted(reply.status for reply in made) == [201, 422, 422, 422, 422]


async def test_a_member_that_cannot_be_is_named(service: Service, program: Owner) -> None:
    impossible: list[tuple[str, object]] = [
        *(("name", ""), ("email", "nobody"), ("prefix", "A-B")),
        *(("status", "gone"), ("support_email", 1), ("quota", 5)),
        *(("first_name", " "), ("metadata", "x"), ("quota_low_threshold", -1)),
    ]
    for field, value in impossible:
        made = await service.send("POST", "/v1/partners", program.key, {"name": "One", field: value})
        assert (made.status, list(made.body["errors"])) == (422, [field])


@pytest.mark.parametrize(
    ("members", "name", "prefix"),
    [
        ({"first_name": "John", "last_name": "Doe", "email": "john@shop.example"}, "John Doe", "JOHNDOE"),
        ({"first_name": "John"}, "John", "JOHN"),
        ({"last_name": "Doe", "name": None}, "Doe", "DOE"),
        ({"first_name": "John", "last_name": "Doe", "name": "Acme"}, "Acme", "ACME"),
    ],
)
async def test_who_has_no_name_is_called_by_that_of_the_person(
    service: Service, program: Owner, members: dict[str, Any], name: str, prefix: str
) -> None:
    """As the guide makes partners."""
    made = await service.send("POST", "/v1/partners", program.key, members)
    assert made.status == 201, made.body
    assert (made.data["name"], made.data["prefix"]) == (name, prefix)


async def test_a_partner_has_some_name(service: Service, program: Owner) -> None:
    for members in ({}, {"email": "a@b.example"}, {"first_name": "x" * 200, "last_name": "y" * 55}):
        refused = await service.send("POST", "/v1/partners", program.key, members)
        assert (refused.status, list(refused.body["errors"])) == (422, ["name"])


async def test_a_change_changes_what_it_names(service: Service, program: Owner, partner: Owner) -> None:
    path = f"/v1/partners/{partner.id}"
    before = (await service.send("GET", path, program.key)).data
    service.clock.advance(seconds=1)
    changes = {
        "name": "New",
        "first_name": "John",
        "last_name": "Doe",
        "email": None,
        "prefix": "NEW",
        "support_email": "help@acme.example",
        "metadata": {"tier": 1},
        "quota_low_threshold": 5,
    }
    changed = await service.send("PATCH", path, program.key, changes)
    assert changed.data == before | changes | {"updated_at": changed.data["updated_at"]}
    for field in ("name", "prefix"):
        refused = await service.send("PATCH", path, program.key, {field: None})
        assert (refused.status, list(refused.body["errors"])) == (422, [field])


async def test_a_change_cannot_take_another_s_address_or_prefix(
    service: Service, program: Owner, partner: Owner
) -> None:
    other = await service.partner(program, name="Other")
    path = f"/v1/partners/{other.id}"
    taken = await service.send("PATCH", path, program.key, {"email": "DEV@acme.example"})
    assert (taken.status, taken.body["code"]) == (422, "email_taken")
    taken = await service.send("PATCH", path, program.key, {"prefix": "PREFIX"})
    assert (taken.status, taken.body["code"]) == (422, "prefix_taken")


async def test_partners_are_found_by_status_and_address(service: Service, program: Owner) -> None:
    for number, status in enumerate(("pending", "active", "active", "suspended")):
        body = {"name": f"P{number}", "email": f"p{number}@a.example", "status": status}
        await service.send("POST", "/v1/partners", program.key, body)
    active = await service.send("GET", "/v1/partners?status=active&limit=1", program.key)
    assert [partner["name"] for partner in active.data] == ["P2"]
    cursor = active.body["meta"]["next_cursor"]
    rest = await service.send("GET", f"/v1/partners?status=active&cursor={cursor}", program.key)
    assert [partner["name"] for partner in rest.data] == ["P1"]
    assert rest.body["meta"]["next_cursor"] is None
    by_address = await service.send("GET", "/v1/partners?email=P3@A.example", program.key)
    assert [partner["status"] for partner in by_address.data] == ["suspended"]
    assert (await service.send("GET", "/v1/partners?status=gone", program.key)).status == 422


async def test_approval_and_suspension_can_be_repeated_and_undone(service: Service, program: Owner) -> None:
    made = await service.send("POST", "/v1/partners", program.key, {"name": "One"})
    path = f"/v1/partners/{made.data['id']}"
    for action, status in (
        ("approve", "active"),
        ("approve", "active"),
        ("suspend", "suspended"),
        ("approve", "active"),
    ):
        service.clock.advance(seconds=1)
        done = await service.send("POST", f"{path}/{action}", program.key)
        assert (done.status, done.data["status"]) == (200, status)
    again = await service.send("POST", f"{path}/approve", program.key)
    assert again.data["updated_at"] == done.data["updated_at"]
    assert (await service.send("POST", f"{path}/suspend", program.key, {"why": "x"})).status == 422


async def test_a_suspension_stops_the_next_mint_in_every_process(
    service: Service, second: Service, program: Owner, partner: Owner
) -> None:
    """Statuses come from the row that the mint locks, so no cache may let one more code through."""
    assert (await second.generate(partner)).status == 200
    await service.send("POST", f"/v1/partners/{partner.id}/suspend", program.key)
    refused = await second.generate(partner)
    assert (refused.status, refused.body) == (
        403,
        {"ok": False, "error": "Partner account is not active", "error_code": "partner_inactive"},
    )
    await service.send("POST", f"/v1/partners/{partner.id}/approve", program.key)
    assert (await second.generate(partner)).status == 200


async def test_metadata_is_merged(service: Service, program: Owner) -> None:
    made = await service.send("POST", "/v1/partners", program.key, {"name": "One", "metadata": {"a": 1, "b": 2}})
    path = f"/v1/partners/{made.data['id']}"
    changed = await service.send("PATCH", path, program.key, {"metadata": {"a": None, "c": 3}})
    assert changed.data["metadata"] == {"b": 2, "c": 3}


async def test_an_archived_partner_is_gone_and_its_names_are_free(
    service: Service, second: Service, program: Owner, partner: Owner
) -> None:
    code = (await service.generate(partner)).body["code"]
    path = f"/v1/partners/{partner.id}"
    gone = await service.send("DELETE", path, program.key)
    assert (gone.status, gone.data["status"]) == (200, "suspended")
    assert gone.data["archived_at"] is not None
    assert (await second.generate(partner)).status == 401
    for method in ("GET", "DELETE"):
        assert (await service.send(method, path, program.key)).status == 404
    assert (await service.send("GET", "/v1/partners", program.key)).data == []
    again = {"name": "Prefix", "prefix": "PREFIX", "email": "dev@acme.example"}
    assert (await service.send("POST", "/v1/partners", program.key, again)).status == 201
    kept = await service.send("GET", f"/v1/promotion-codes/{code}", program.key)
    assert kept.data["partner_id"] == partner.id
    async with service.pool.connection() as connection:
        status = await connection.fetchval("SELECT partner_status FROM redeemable_v1 WHERE code = $1", code)
    assert status == "suspended"
