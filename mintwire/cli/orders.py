"""An order as the commands of `mintwire checkout` take it: the same options for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from mintwire.cli.client import given
from shared.ids import new_id

Codes = Annotated[str, Parameter(required=True, help="1 to 10 codes, in any spelling.")]

# Whether an order is one of test mode.
Test = Annotated[bool, Parameter(negative=())]


def mode_of(test: bool) -> dict[str, str]:
    """Return what a checkout's event says of its mode: nothing in live mode."""
    return {"mode": "test"} if test else {}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Order:
    """Who buys, and for how much.

    Parameters
    ----------
    order_ref
        The shop's name for the order; a new one if not given, and none where it is only asked about.
    customer_id
        The shop's name for the customer.
    email
        The customer's address.
    is_first_order
        Whether it is the customer's first order, for codes that are for those.
    currency
        ISO 4217.
    subtotal
        In minor units: 2900 is 29.00.
    """

    order_ref: str | None = None
    customer_id: str | None = None
    email: str | None = None
    is_first_order: Annotated[bool | None, Parameter(name="--first-order")] = None
    currency: str | None = None
    subtotal: int | None = None

    def named(self) -> str:
        """Return its name, or a new one."""
        return self.order_ref or f"order-{new_id()}"

    def body(self, codes: Sequence[str], order_ref: str | None) -> dict[str, object]:
        """Return what is said of it, with the codes: the members of a request or of an event."""
        customer = given(id=self.customer_id, email=self.email, is_first_order=self.is_first_order)
        order = given(currency=self.currency, subtotal=self.subtotal)
        return given(codes=list(codes), order_ref=order_ref, customer=customer or None, order=order or None)
