"""Orders of codes: a partner asks for more quota, its program decides. Which act may follow which state."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final, Literal

from services.codes.domain.code_order_errors import CodeOrderDecided, CodeOrderUnpaid, NotACodePack

CodeOrderState = Literal["pending", "approved", "refused", "paid", "cancelled"]
Act = Literal["approve", "refuse", "pay", "cancel"]

MAX_CODES: Final = 1_000_000
# So that a partner cannot bury the orders of others; who needs more codes orders a larger number.
MOST_PENDING: Final = 20

_LEADS_TO: Final[Mapping[Act, CodeOrderState]] = {
    "approve": "approved",
    "refuse": "refused",
    "pay": "paid",
    "cancel": "cancelled",
}
# A payment that arrives after the approval is recorded and grants nothing more.
_STARTS_FROM: Final[Mapping[Act, frozenset[CodeOrderState]]] = {
    "approve": frozenset({"pending"}),
    "refuse": frozenset({"pending"}),
    "pay": frozenset({"pending", "approved"}),
    "cancel": frozenset({"pending"}),
}
_GRANTED: Final = frozenset[CodeOrderState]({"approved", "paid"})


@dataclass(frozen=True, slots=True)
class CodeOrderDraft:
    """A new order; one that must be paid is granted when it is paid, and cannot be approved."""

    count: int
    reference: str | None = None
    note: str | None = None
    must_be_paid: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeOrder:
    """An order as stored; `placed_by` and `decided_by` name the key or account, `reason` is that of a refusal."""

    id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID
    count: int
    reference: str | None
    note: str | None
    must_be_paid: bool
    state: CodeOrderState
    reason: str | None
    placed_by: str
    decided_by: str | None
    created_at: datetime
    decided_at: datetime | None

    @property
    def is_granted(self) -> bool:
        """Whether its codes are part of the partner's quota."""
        return self.state in _GRANTED

    @property
    def name(self) -> str:
        """How people know it: the partner's reference, or else its id."""
        return self.reference or str(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeOrderFilter:
    """A filter of a program's orders; all given members must match."""

    program_id: uuid.UUID
    partner_id: uuid.UUID | None = None
    state: CodeOrderState | None = None
    reference: str | None = None
    since: date | None = None
    until: date | None = None


def check_pack(count: int, packs: Sequence[int]) -> None:
    """Raise NotACodePack if a program sells packs and this number is none of them."""
    if packs and count not in packs:
        raise NotACodePack(packs)


def decided(order: CodeOrder, act: Act, *, by: str, now: datetime, reason: str | None = None) -> CodeOrder:
    """Return the order after an act; unchanged if that is done already.

    It grants its codes exactly if `is_granted` has become true, which happens at most once. Raises CodeOrderDecided or
    CodeOrderUnpaid.
    """
    if order.state == _LEADS_TO[act]:
        return order
    if order.state not in _STARTS_FROM[act]:
        raise CodeOrderDecided(order.state)
    if act == "approve" and order.must_be_paid:
        raise CodeOrderUnpaid
    return replace(order, state=_LEADS_TO[act], reason=reason, decided_by=by, decided_at=now)
