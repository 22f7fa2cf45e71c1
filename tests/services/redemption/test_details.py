"""Details that decide nothing: no paid order fails by an attribute or by a number that is sent as one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.redemption.domain.details import keep_attributes
from shared.events.checkout import Attributes
from tests.services.redemption.conftest import Decider, Shop, told
from tests.services.redemption.merchant import Merchant, checkout, taken_back

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = SCALARS | st.text(max_size=10) | st.text("x", min_size=499, max_size=502) | st.lists(SCALARS, max_size=2)
NAMES = st.text(max_size=5) | st.text("n", min_size=99, max_size=102)
IDS = {"big": 2**60, "bigger": 2**64 - 1, "least": -(2**63), "small": 1.5e-9}


@given(st.dictionaries(NAMES, VALUES, max_size=60))
def test_what_is_kept_fits_the_event_and_the_rest_is_named(attributes: dict[str, Any]) -> None:
    kept, left_out = keep_attributes(attributes)
    assert TypeAdapter(Attributes).validate_python(dict(kept)) == kept
    assert kept.items() <= attributes.items()
    assert len(left_out) == min(50, len(attributes) - len(kept))
    assert all(len(name) <= 100 for name in left_out)


@given(st.none() | st.lists(SCALARS, max_size=2) | st.text(max_size=5) | st.integers())
def test_what_is_no_object_leaves_nothing_behind(given_: Any) -> None:
    kept, left_out = keep_attributes(given_)
    assert not kept
    assert left_out == (() if given_ in (None, []) else ("attributes",))


SENT = {**IDS, "flag": True, "nothing": None, "deep": {"a": 1}, "long": "x" * 501, "": 1, "huge": 2**64}


async def test_a_purchase_survives_its_attributes_at_either_door(
    shop: Shop, merchant: Merchant, decider: Decider
) -> None:
    """An id of 2^60 sent the whole purchase to the dead queue."""
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "MANY", limit=None)
    await decider.take(checkout(shop.program_id, "MANY", ref="1", attributes=SENT))
    assert (await shop.redeem("MANY", ref="2", attributes=SENT)).status == 201
    by_event, by_http = (event for event in shop.announced() if event["event"] == "code.redeemed")
    for event in (by_event, by_http):
        assert event["attributes"] == {**IDS, "flag": True, "nothing": None}
        assert event["attributes_left_out"] == ["deep", "long", "", "huge"]


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"[1, 1e400]", b"9" * 5_000])
async def test_a_purchase_survives_a_number_out_of_range_at_either_door(
    shop: Shop, merchant: Merchant, decider: Decider, number: bytes
) -> None:
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "MANY", limit=None)
    sent = {"far": "<far>", "near": 1.5}
    event = checkout(shop.program_id, "MANY", ref="1", attributes=sent).replace(b'"<far>"', number)
    await decider.take(event)
    body = json.dumps({"codes": ["MANY"], "order_ref": "2", "attributes": sent}).encode().replace(b'"<far>"', number)
    headers = {"Authorization": f"Bearer {shop.key}", "Content-Type": "application/json"}
    async with shop.http.post("/v1/redemptions", data=body, headers=headers) as made:
        assert made.status == 201
    told_of = [each for each in shop.announced() if each["event"] == "code.redeemed"]
    assert [each["attributes"] for each in told_of] == [{"near": 1.5}] * 2
    assert [each["attributes_left_out"] for each in told_of] == [["far"]] * 2
    order = body.replace(b'"attributes": {"far"', b'"order": {"subtotal"')
    async with shop.http.post("/v1/redemptions", data=order, headers=headers) as refused:
        assert refused.status in (400, 422)


@pytest.mark.parametrize("attributes", [[], "none", 7, {f"a{n}": n for n in range(60)}])
async def test_an_event_survives_attributes_of_any_shape(decider: Decider, merchant: Merchant, attributes: Any) -> None:
    program = await merchant.program()
    await merchant.code(program, await merchant.coupon(program), "ONE")
    (event,) = await decider.take(checkout(program, "ONE", attributes=attributes))
    assert len(event["attributes"]) == (50 if isinstance(attributes, dict) else 0)
    assert event["attributes_left_out"] == (
        [f"a{n}" for n in range(50, 60)] if isinstance(attributes, dict) else ["attributes"] if attributes else []
    )


async def test_an_empty_list_is_an_empty_object_at_either_door(shop: Shop, merchant: Merchant) -> None:
    """As some languages write it; over HTTP the paid order was refused."""
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "MANY", limit=None)
    await shop.decider.take(checkout(shop.program_id, "MANY", ref="1", attributes=[]))
    assert (await shop.redeem("MANY", ref="2", attributes=[])).status == 201
    assert [each["attributes_left_out"] for each in shop.announced()] == [[], []]
    assert (await shop.redeem("MANY", ref="3", attributes=[1])).status == 422


async def test_codes_that_are_numbers_become_text_at_every_door(
    shop: Shop, merchant: Merchant, decider: Decider
) -> None:
    """A code of digits that a shop sent as a number was a dead letter, and a 422."""
    coupon = await merchant.coupon(shop.program_id)
    await merchant.code(shop.program_id, coupon, "20241", limit=None)
    body = json.loads(checkout(shop.program_id, "20241"))
    body["data"]["codes"] = [20241]
    (event,) = await decider.take(json.dumps(body).encode())
    assert event["code"] == "20241"
    asked = {"codes": [20241]}
    assert (await shop.send("POST", "/v1/validations", asked)).data["valid"] is True
    for number, path in enumerate(("/v1/reservations", "/v1/redemptions")):
        assert (await shop.send("POST", path, {**asked, "order_ref": f"n-{number}"})).status == 201, path
    refused = await shop.send("POST", "/v1/validations", {"codes": [True]})
    assert list(refused.body["errors"]) == ["codes.0"]


async def test_numbers_of_orders_and_customers_become_text_at_every_door(
    shop: Shop, merchant: Merchant, decider: Decider
) -> None:
    """A shop that numbers its orders would pay a dead letter for each."""
    coupon = await merchant.coupon(shop.program_id)
    await merchant.code(shop.program_id, coupon, "MANY", limit=None)
    sent: dict[str, Any] = {"customer": {"id": 17}}
    body = json.loads(checkout(shop.program_id, "MANY", **sent))
    body["data"]["order_ref"] = 4711
    (event,) = await decider.take(json.dumps(body).encode())
    assert (event["order_ref"], event["customer"]["id"]) == ("4711", "17")
    again = await shop.send("POST", "/v1/redemptions", {"codes": ["MANY"], "order_ref": 4711.0, **sent})
    assert (again.status, again.data["order_ref"]) == (200, "4711")
    held = await shop.send("POST", "/v1/reservations", {"codes": ["MANY"], "order_ref": 2**60, **sent})
    assert (held.status, held.data["order_ref"]) == (201, str(2**60))
    asked = await shop.send("POST", "/v1/validations", {"codes": ["MANY"], "order_ref": 4711, **sent})
    assert asked.data["valid"] is True
    body = json.loads(taken_back(shop.program_id))
    body["data"]["order_ref"] = 4711
    assert told(await decider.take(json.dumps(body).encode())) == ["code.redemption_voided"]


@pytest.mark.parametrize("order_ref", [True, 1.5, None, [], "", 1e300])
async def test_what_names_no_order_is_refused_at_every_door(
    shop: Shop, merchant: Merchant, decider: Decider, order_ref: Any
) -> None:
    body = json.loads(checkout(shop.program_id, "MANY"))
    body["data"]["order_ref"] = order_ref
    (outcome,) = await decider.handle(json.dumps(body).encode())
    assert outcome is not None
    assert (outcome.reason, "data.order_ref" in outcome.detail) == ("invalid_data", True)
    for path in ("redemptions", "reservations"):
        refused = await shop.send("POST", f"/v1/{path}", {"codes": ["MANY"], "order_ref": order_ref})
        assert (refused.status, list(refused.body["errors"])) == (422, ["order_ref"])
