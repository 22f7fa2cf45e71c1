"""A partner that buys with its own code: marked, and refused or left unpaid where the program does not allow it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.redemption.domain.purchase import Buyer
from services.redemption.domain.self_referral import commission_rate, fault_of_self_referral, is_partner
from services.redemption.domain.terms import Restrictions
from shared.mailboxes import mailbox
from tests.services.redemption.conftest import Decider, Shop
from tests.services.redemption.merchant import Merchant, checkout
from tests.services.redemption.test_decision import PARTNER, TERMS

USD = {"currency": "USD", "subtotal": 2500}
MAIL = "jane.doe@acme.example"
OWN = replace(TERMS, partner_email=MAIL, commission_hundredths=1000, allows_self_referral=False)
Locals = st.text("abc.", min_size=1, max_size=6).filter(lambda text: text.strip(".") != "")


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("Jane.Doe@Acme.example", MAIL, True),
        ("jane.doe+shop@acme.example", MAIL, True),
        ('"jane.doe"@acme.example.', MAIL, True),
        ("janedoe@acme.example", MAIL, False),
        ("jane.doe@acme.example.org", MAIL, False),
        ("J.a.n.e+x@googlemail.com", "jane@gmail.com", True),
        ("jane@gmail.com.", "Jane@GoogleMail.com", True),
        ("+x@acme.example", "+y@acme.example", False),
        ("no address", "no address", True),
    ],
)
def test_a_mailbox_is_known_in_any_spelling(one: str, other: str, is_same: bool) -> None:
    assert (mailbox(one) == mailbox(other)) == is_same
    assert mailbox(mailbox(one)) == mailbox(one)


@given(Locals, st.sampled_from(("acme.example", "gmail.com", "googlemail.com")), st.text("xyz", max_size=3))
def test_spelling_one_address_otherwise_makes_no_other_mailbox(local: str, domain: str, tag: str) -> None:
    address = f"{local}@{domain}"
    for other in (address.upper(), f"{local}+{tag}@{domain}", f'"{local}"@{domain}', f"{address}."):
        assert mailbox(other) == mailbox(address)


@pytest.mark.parametrize(
    ("buyer", "is_own"),
    [
        (Buyer(email="Jane.Doe+1@acme.example"), True),
        (Buyer(id=str(PARTNER)), True),
        (Buyer(id=str(PARTNER).upper()), True),
        (Buyer(id="c-1", email=MAIL), True),
        (Buyer(id="c-1", email="else@acme.example"), False),
        (Buyer(), False),
    ],
)
def test_a_partner_is_known_by_its_id_or_its_mailbox(buyer: Buyer, is_own: bool) -> None:
    assert is_partner(OWN, buyer) == is_own
    assert (fault_of_self_referral(OWN, buyer) is not None) == is_own
    assert commission_rate(OWN, buyer) == (0 if is_own else 1000)
    allowed = replace(OWN, allows_self_referral=True)
    own_only = replace(OWN, restrictions=Restrictions(is_limited_to_partner=True))
    for terms in (allowed, own_only):
        assert (fault_of_self_referral(terms, buyer), commission_rate(terms, buyer)) == (None, 1000)
    assert not is_partner(replace(OWN, partner_id=None), buyer)


async def stock(merchant: Merchant, program: Any, *, is_allowed: bool) -> None:
    partner = await merchant.partner(program)
    await merchant.restrict_partner(partner, email_canonical=MAIL)
    await merchant.restrict_program(program, allow_self_referral=is_allowed)
    coupon = await merchant.coupon(program, percent=2000)
    await merchant.restrict_coupon(coupon, commission_hundredths=1000)
    await merchant.code(program, coupon, "OWN", partner_id=partner, limit=None)


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_what_was_paid_already_counts_and_is_marked(
    shop: Shop, merchant: Merchant, decider: Decider, is_allowed: bool
) -> None:
    await stock(merchant, shop.program_id, is_allowed=is_allowed)
    others, own = {"email": "else@acme.example"}, {"email": MAIL}
    for ref, customer, is_own in (("1", others, False), ("2", own, True)):
        (event,) = await decider.take(checkout(shop.program_id, "OWN", ref=ref, order=USD, customer=customer))
        is_paid = is_allowed or not is_own
        assert (event["is_self_referral"], event["commission"]["amount_minor"]) == (is_own, 200 if is_paid else 0)
        [shown] = (await shop.send("GET", f"/v1/redemptions?order_ref={ref}")).body["data"]
        assert shown["is_self_referral"] == is_own
    asked = await shop.redeem("OWN", ref="3", order=USD, customer=own)
    assert asked.status == (201 if is_allowed else 409)


async def test_a_page_is_not_told_whose_address_is_the_partners(shop: Shop, merchant: Merchant) -> None:
    await stock(merchant, shop.program_id, is_allowed=False)
    key = await merchant.key(shop.program_id, "validate", kind="publishable")
    for email in (MAIL, "else@acme.example"):
        body = {"codes": ["OWN"], "order": USD, "customer": {"email": email}}
        assert (await shop.send("POST", "/v1/validations", body, key=key)).data["valid"] is True
