"""The plan for a shop's file: one coupon per set of terms, its codes, and what cannot be imported."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mintwire.shops.rows import NotCarried, Row
from shared.canonical import canonical_code, checked_code


@dataclass(frozen=True)
class ShopCode:
    """A row as one of our codes: the terms of its coupon, and its own members, both as in our API.

    `coupon_uses` are those of the shop's own coupon, if the shop counts them separately from its codes'.
    """

    code: str
    terms: Mapping[str, Any]
    members: Mapping[str, str]
    uses: int = 0
    coupon_uses: int | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Remark:
    """A remark on a line; `is_refused` if no code was created from it."""

    line: int
    code: str
    reason: str
    is_refused: bool


@dataclass
class PlannedCoupon:
    """A coupon to create, and its codes by their lines."""

    uuid_code: str
    terms: Mapping[str, Any]
    codes: dict[int, ShopCode] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The request that creates the coupon."""
        counted = [code.coupon_uses for code in self.codes.values() if code.coupon_uses is not None]
        uses = max(counted) if counted else sum(code.uses for code in self.codes.values())
        return {"uuid_code": self.uuid_code, **self.terms, "opening_uses": uses}


@dataclass
class Plan:
    """Everything that a file requests."""

    coupons: dict[str, PlannedCoupon] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)


def make_plan(shop: str, rows: Iterable[Row], read: Callable[[Row], ShopCode]) -> Plan:
    """Group the rows of a file into coupons; the same terms get the same `uuid_code` in every file."""
    plan = Plan()
    lines: dict[str, int] = {}
    for row in rows:
        try:
            row.check()
            code = read(row)
            _add(plan, shop, row.line, code, lines)
        except NotCarried as refused:
            plan.remarks.append(Remark(row.line, _name(row), str(refused), is_refused=True))
        else:
            plan.remarks += [Remark(row.line, code.code, remark, is_refused=False) for remark in code.remarks]
    return plan


def _add(plan: Plan, shop: str, line: int, code: ShopCode, lines: dict[str, int]) -> None:
    try:
        checked_code(code.code)
    except ValueError as error:
        raise NotCarried(f"the code {error}") from None
    if (earlier := lines.setdefault(canonical_code(code.code), line)) != line:
        raise NotCarried(f"line {earlier} has the same code")
    _check_amount(code.terms)
    named = json.dumps(code.terms, sort_keys=True)
    if "redemptions_per_customer" in code.terms:
        # Shops count a customer's uses per code, we count them over all codes of a coupon.
        named += canonical_code(code.code)
    digest = hashlib.sha256(named.encode()).hexdigest()
    uuid_code = f"{shop}-{digest[:16]}"
    plan.coupons.setdefault(uuid_code, PlannedCoupon(uuid_code, code.terms)).codes[line] = code


def _check_amount(terms: Mapping[str, Any]) -> None:
    """Refuse discounts that no coupon can have, so that a dry run reports them too."""
    amount = terms["coupon_discount_amount"]
    if amount < 0:
        raise NotCarried("it takes off less than nothing")
    if terms["coupon_discount_type"] != "percent":
        return
    if amount > 100:
        raise NotCarried("it takes off more than 100 %")
    if not math.isclose(amount * 100, round(amount * 100), abs_tol=1e-9):
        raise NotCarried("its percentage has more than 2 decimal places")


def _name(row: Row) -> str:
    return row.text("code", "couponcode", "posttitle", "name", "id")[:100]
