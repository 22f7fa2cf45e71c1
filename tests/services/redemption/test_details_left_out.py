"""No paid order dies of a detail: an event without it counts and names it; who asks hears which field is wrong."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.redemption.domain.details import keep_details
from shared.events.checkout import CheckoutCompletedV1
from shared.strict_json import Unreadable
from tests.services.redemption.conftest import Decider, Shop, told
from tests.services.redemption.merchant import Merchant, checkout, taken_back

NUL = Unreadable("nul_character", "must not contain NUL characters")
ORDER: dict[str, Any] = {"currency": "EUR", "subtotal": 1_000, "items": [{"product_id": "X", "amount": 1_000}]}


def with_item(**members: Any) -> dict[str, Any]:
    return {"order": {**ORDER, "items": [{**ORDER["items"][0], **members}]}}


# What is sent, what is named of it, and the field that a 422 names.
DETAILS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a NUL in an item's name": (with_item(name="a\0b"), ["order.items.0.name"]),
    "half a surrogate in it": (with_item(name="a\ud83d"), ["order.items.0.name"]),
    "one deep in an item": (with_item(meta={"a": ["\0"]}), ["order.items.0.meta"]),
    "an item that is text": ({"order": {**ORDER, "items": ["X", *ORDER["items"]]}}, ["order.items.0"]),
    "an item that is nothing": ({"order": {**ORDER, "items": [None]}}, ["order.items.0"]),
    "items that are none": ({"order": {**ORDER, "items": "X"}}, ["order.items"]),
    "more items than are read": ({"order": {**ORDER, "items": [{"product_id": "X"}] * 501}}, ["order.items"]),
    "a product of no kind": (with_item(product_id=True), ["order.items.0.product_id"]),
    "an address that is too long": ({"customer": {"email": f"{'x' * 320}@a.example"}}, ["customer.email"]),
    "an address that is none": ({"customer": {"email": "n/a"}}, ["customer.email"]),
    "a number as an address": ({"customer": {"email": 7}}, ["customer.email"]),
    "an id that is too long": ({"customer": {"id": "x" * 256}}, ["customer.id"]),
    "an id of no kind": ({"customer": {"id": {"a": 1}}}, ["customer.id"]),
    "a NUL in an id": ({"customer": {"id": "a\0"}}, ["customer.id"]),
    "a flag that is none": ({"customer": {"is_first_order": "yes"}}, ["customer.is_first_order"]),
    "a customer that is none": ({"customer": "Sarah"}, ["customer"]),
    "a reservation that is none": ({"reservation_id": 7}, ["reservation_id"]),
    "several": ({"customer": {"id": "x" * 256, "email": "-"}}, ["customer.id", "customer.email"]),
}


@pytest.fixture
async def code(shop: Shop, merchant: Merchant) -> str:
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id, percent=1_000), "MANY", limit=None)
    return "MANY"


@pytest.mark.parametrize("name", DETAILS)
async def test_a_paid_order_counts_without_a_detail_and_names_it(
    name: str, shop: Shop, decider: Decider, code: str
) -> None:
    sent, left_out = DETAILS[name]
    (event,) = await decider.take(checkout(shop.program_id, code, **{"order": ORDER, **sent}))
    assert (event["event"], event["details_left_out"]) == ("code.redeemed", left_out)
    assert event["discount"]["applied_minor"] == 100
    assert (await shop.send("GET", "/v1/orders/order-1")).data["left_out"] == left_out


@pytest.mark.parametrize("name", DETAILS)
async def test_who_asks_hears_which_field_is_wrong(name: str, shop: Shop, code: str) -> None:
    sent, left_out = DETAILS[name]
    paths = ["redemptions"] if "reservation_id" in sent else ["redemptions", "reservations", "validations"]
    for path in paths:
        refused = await shop.send("POST", f"/v1/{path}", {"codes": [code], "order_ref": "1", "order": ORDER, **sent})
        assert refused.status == 422
        assert all(any(field.startswith(each) for field in refused.body["errors"]) for each in left_out)


@pytest.mark.parametrize("value", ["a\0b", "a\ud83d", {"deep": "\0"}])
async def test_attributes_that_cannot_be_read_are_left_out_at_either_door(
    shop: Shop, decider: Decider, code: str, value: Any
) -> None:
    sent: dict[str, Any] = {"attributes": {"bad": value, "good": 1, "na\0me": 2}}
    await decider.take(checkout(shop.program_id, code, ref="1", **sent))
    assert (await shop.redeem(code, ref="2", **sent)).status == 201
    for ref in ("1", "2"):
        shown = (await shop.send("GET", f"/v1/orders/{ref}")).data
        assert (shown["attributes"], shown["left_out"]) == ({"good": 1}, ["attributes.bad", "attributes.na\ufffdme"])
    for event in shop.announced():
        assert (event["attributes"], event["attributes_left_out"]) == ({"good": 1}, ["bad", "na\ufffdme"])


async def test_members_that_are_not_known_are_ignored_whatever_they_hold(
    shop: Shop, decider: Decider, code: str
) -> None:
    event = json.loads(checkout(shop.program_id, code, note="\0", customer={"age": "\ud800"}, order={"tax": "\0"}))
    (redeemed,) = await decider.take(json.dumps(event | {"extension": "\0", "traceparent": "\0"}).encode())
    assert (redeemed["event"], redeemed["details_left_out"]) == ("code.redeemed", [])


async def test_an_empty_list_is_an_empty_object_in_an_event(shop: Shop, decider: Decider, code: str) -> None:
    """As some languages write it; the paid order was lost."""
    (event,) = await decider.take(checkout(shop.program_id, code, order=[], customer=[], attributes=[]))
    assert (event["event"], event["order"], event["customer"]) == ("code.redeemed", None, None)


@pytest.mark.parametrize("customer", [{"id": ""}, {"id": " "}, {"id": "", "email": ""}, {"id": None}, []])
async def test_an_empty_id_is_nobodys_at_every_door(shop: Shop, decider: Decider, code: str, customer: Any) -> None:
    """As shops write it for guests, who would all be one customer, or none could pay."""
    (event,) = await decider.take(checkout(shop.program_id, code, ref="1", customer=customer))
    assert event["details_left_out"] == []
    if customer:
        for path, status in (("redemptions", 201), ("reservations", 201), ("validations", 200)):
            sent = {"codes": [code], "order_ref": path, "customer": customer}
            assert (await shop.send("POST", f"/v1/{path}", sent)).status == status


async def test_a_code_that_needs_what_was_left_out_is_refused_and_says_so(
    shop: Shop, merchant: Merchant, decider: Decider
) -> None:
    """A limit per customer must not end where nobody can read who buys."""
    coupon = await merchant.coupon(shop.program_id)
    await merchant.restrict_coupon(coupon, customer_redemption_limit=1)
    await merchant.code(shop.program_id, coupon, "EACH", limit=None)
    for number in range(2):
        (event,) = await decider.take(
            checkout(shop.program_id, "EACH", ref=str(number), customer={"id": "x" * 256, "email": "n/a"})
        )
        assert (event["event"], event["reason"]) == ("code.redemption_rejected", "customer_required")
        assert event["detail"].endswith("Details that could not be read were left out: customer.id, customer.email.")
    shown = (await shop.send("GET", "/v1/orders/0")).data
    assert [row["detail"] for row in shown["rejections"]] == [event["detail"]]


async def test_a_code_for_some_products_needs_items_that_can_be_read(
    shop: Shop, merchant: Merchant, decider: Decider
) -> None:
    coupon = await merchant.coupon(shop.program_id)
    await merchant.restrict_coupon(coupon, product_ids=["X"])
    await merchant.code(shop.program_id, coupon, "SOME", limit=None)
    (event,) = await decider.take(checkout(shop.program_id, "SOME", order={**ORDER, "items": "X"}))
    assert (event["event"], event["reason"]) == ("code.redemption_rejected", "order_items_required")
    assert event["detail"].endswith("Details that could not be read were left out: order.items.")


async def test_what_is_left_of_the_customer_still_counts(shop: Shop, merchant: Merchant, decider: Decider) -> None:
    coupon = await merchant.coupon(shop.program_id)
    await merchant.restrict_coupon(coupon, customer_redemption_limit=1)
    await merchant.code(shop.program_id, coupon, "EACH", limit=None)
    bodies = [
        checkout(shop.program_id, "EACH", ref=str(n), customer={"id": "\0", "email": "sarah@a.example"})
        for n in range(2)
    ]
    assert told(await decider.take(*bodies)) == ["code.redeemed", "customer_limit_reached"]


@pytest.mark.parametrize(
    "order",
    [
        {**ORDER, "subtotal": "1000"},
        {**ORDER, "currency": "\0"},
        with_item(amount="\0")["order"],
    ],
)
async def test_money_is_no_detail(shop: Shop, decider: Decider, code: str, order: dict[str, Any]) -> None:
    (outcome,) = await decider.handle(checkout(shop.program_id, code, order=order))
    assert outcome is not None
    assert "data.order." in outcome.detail


async def test_an_order_is_taken_back_whatever_its_reason_says(shop: Shop, decider: Decider, code: str) -> None:
    for number, reason in enumerate(("\0", "x" * 300, 7, "")):
        await decider.take(checkout(shop.program_id, code, ref=str(number)))
        (event,) = await decider.take(taken_back(shop.program_id, ref=str(number), reason=reason, release="true"))
        assert (event["event"], event["is_released"]) == ("code.redemption_voided", True)
        assert event["reason"] == ("x" * 255 if isinstance(reason, str) and len(reason) == 300 else None)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3) | st.just(NUL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
CUSTOMERS = ANY | st.fixed_dictionaries({}, optional={"id": ANY, "email": ANY, "is_first_order": ANY, "more": ANY})
ITEMS = st.fixed_dictionaries({}, optional={"product_id": ANY, "amount": st.integers(0, 9), "name": ANY})


@given(CUSTOMERS, st.lists(ANY | ITEMS, max_size=4), ANY)
def test_whatever_details_there_are_what_is_kept_is_an_event(customer: Any, items: list[Any], reservation: Any) -> None:
    """Any of them would send the purchase to the dead queue."""
    items = [item for item in items if not isinstance(item, dict) or isinstance(item.get("amount", 0), int)]
    named = {
        "program_id": "0192e4b6-0000-7000-8000-000000000001",
        "order_ref": "1",
        "codes": ["A"],
        "customer": customer,
        "order": {"items": items},
        "reservation_id": reservation,
    }
    kept, left_out = keep_details(named)
    read = CheckoutCompletedV1.model_validate(kept)
    assert read.order is not None
    assert len(read.order.items or ()) == len(items)
    assert read.model_dump_json()
    assert len(set(left_out)) == len(left_out)
