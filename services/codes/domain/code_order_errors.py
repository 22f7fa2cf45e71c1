"""The refusals of orders of codes.

CodesError
├── PartnerInactive          a partner that is not active orders no codes
├── OrderedByInactive        nor is an order of it approved
├── NotACodePack             the program sells codes in packs of other numbers
├── TooManyPendingCodeOrders the partner has the maximum number of pending orders
├── CodeOrderReferenceTaken  another order of the partner has this reference
├── CodeOrderDecided         an order's state excludes this decision
└── CodeOrderUnpaid          an order that must be paid is granted by its payment
"""

from collections.abc import Iterable

from services.codes.domain.errors import CodesError


class PartnerInactive(CodesError):
    """Partner account is not active"""


class OrderedByInactive(CodesError):
    """The partner is not active; approve the partner first, or refuse the order."""


class NotACodePack(CodesError):
    """The program sells codes in packs, and this number is none of them."""

    def __init__(self, packs: Iterable[int]) -> None:
        listed = ", ".join(map(str, packs))
        self.rule = f"must be the number of codes of a pack: {listed}"
        super().__init__()


class TooManyPendingCodeOrders(CodesError):
    """The partner has the maximum number of pending orders."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} orders may be pending; wait for a decision, or cancel one.")


class CodeOrderReferenceTaken(CodesError):
    """Another order of this partner has this reference."""

    def __init__(self, count: int) -> None:
        self.rule = f"is taken; the order with this reference is for {count} codes"
        super().__init__()


class CodeOrderDecided(CodesError):
    """The order has been decided."""

    def __init__(self, state: str) -> None:
        self.state = state
        super().__init__(f"This order is {state}, so this is no longer possible.")


class CodeOrderUnpaid(CodesError):
    """This order must be paid; its codes are granted when it is, so it cannot be approved."""
