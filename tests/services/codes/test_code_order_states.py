"""The states of an order of codes: which act may follow which, and that its codes are granted at most once."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.codes.domain.code_order_errors import CodeOrderDecided, CodeOrderUnpaid
from services.codes.domain.code_orders import Act, CodeOrder, CodeOrderState, decided

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ACTS: tuple[Act, ...] = get_args(Act)
# From each state what leads where: all other acts are refused.
ALLOWED: dict[CodeOrderState, dict[Act, CodeOrderState]] = {
    "pending": {"approve": "approved", "refuse": "refused", "pay": "paid", "cancel": "cancelled"},
    "approved": {"approve": "approved", "pay": "paid"},
    "refused": {"refuse": "refused"},
    "paid": {"pay": "paid"},
    "cancelled": {"cancel": "cancelled"},
}


def order_in(state: CodeOrderState = "pending", *, must_be_paid: bool = False) -> CodeOrder:
    is_open = state == "pending"
    return CodeOrder(
        id=uuid.UUID(int=1),
        program_id=uuid.UUID(int=2),
        partner_id=uuid.UUID(int=3),
        count=10,
        reference=None,
        note=None,
        must_be_paid=must_be_paid,
        state=state,
        reason="No." if state == "refused" else None,
        placed_by="key 1",
        decided_by=None if is_open else "key 2",
        created_at=NOW,
        decided_at=None if is_open else NOW,
    )


@pytest.mark.parametrize("state", ALLOWED)
@pytest.mark.parametrize("act", ACTS)
def test_every_state_takes_the_acts_of_the_table_and_no_other(state: CodeOrderState, act: Act) -> None:
    order = order_in(state)
    if (expected := ALLOWED[state].get(act)) is None:
        with pytest.raises(CodeOrderDecided) as refused:
            decided(order, act, by="key 3", now=NOW)
        assert state in str(refused.value)
        return
    after = decided(order, act, by="key 3", now=NOW, reason="Why." if act == "refuse" else None)
    assert after.state == expected
    assert (after is order) == (state == expected)


@given(
    must_be_paid=st.booleans(),
    acts=st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from(["key 1", "key 2", "account 3"])), max_size=12),
)
def test_whatever_is_tried_in_whatever_order_grants_at_most_once(
    must_be_paid: bool, acts: list[tuple[Act, str]]
) -> None:
    """A grant too many gives codes away, a lost one leaves a partner with codes that it has paid for."""
    order, grants, now = order_in(must_be_paid=must_be_paid), 0, NOW
    for act, by in acts:
        now += timedelta(seconds=1)
        before = order
        try:
            order = decided(order, act, by=by, now=now, reason="Why." if act == "refuse" else None)
        except (CodeOrderDecided, CodeOrderUnpaid):
            assert order is before
            continue
        grants += order.is_granted and not before.is_granted
        assert not before.is_granted or order.is_granted
        if order is not before:
            assert (order.decided_by, order.decided_at) == (by, now)
    assert grants == (order.state in ("approved", "paid"))
    assert not (must_be_paid and order.state == "approved")
    assert (order.reason is not None) == (order.state == "refused")
    assert order.count == 10


def test_an_order_that_must_be_paid_is_granted_by_its_payment_alone() -> None:
    order = order_in(must_be_paid=True)
    with pytest.raises(CodeOrderUnpaid):
        decided(order, "approve", by="key 1", now=NOW)
    assert decided(order, "pay", by="stripe", now=NOW).is_granted
