"""One order, four doors, one answer: HTTP redemption, validation, reservation and event go by the same rules.

Rows with a `rule` are the tables 'What happens when' of the guides: what is written there is what was just tried.
"""

from typing import Any, Final

import pytest

from tests.architecture.source import ROOT
from tests.contracts.four_doors import GUIDE_HEAD, Case, Coupon, Malformed, Refuses, Takes, answers, guide_row
from tests.databases import Database

GUIDES: Final = ROOT / "docs" / "guides"


def order(subtotal: Any = None, *items: tuple[Any, Any], currency: Any = "EUR") -> dict[str, Any]:
    """Return an order of lines (product, amount); without a subtotal it is what they come to."""
    made: dict[str, Any] = {"currency": currency, "subtotal": subtotal}
    if subtotal is None:
        made["subtotal"] = sum(amount for _, amount in items)
    if items:
        made["items"] = [
            {name: value for name, value in (("product_id", product), ("amount", amount)) if value is not None}
            for product, amount in items
        ]
    return made


CASES: Final[dict[str, Case]] = {
    "a percentage of the subtotal": Case(
        coupons=(Coupon(codes=("TEN",)),),
        asks={"codes": ["TEN"], "order": order(4_900)},
        answer=Takes({"TEN": 490}),
    ),
    "an unknown code": Case(
        coupons=(Coupon(codes=("TEN",)),),
        asks={"codes": ["TEN", "NONE"], "order": order(4_900)},
        answer=Refuses("NONE", "code_unknown"),
    ),
    "a negative subtotal": Case(
        coupons=(Coupon(codes=("TEN",)),),
        asks={"codes": ["TEN"], "order": order(-1)},
        answer=Malformed("order.subtotal"),
    ),
    "a static amount in another currency": Case(
        coupons=(Coupon(codes=("FIVE",), amount=500),),
        asks={"codes": ["FIVE"], "order": order(4_900, currency="USD")},
        answer=Refuses("FIVE", "currency_mismatch"),
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_every_door_gives_the_same_answer(name: str, database: Database) -> None:
    """A customer would be shown one price and charged another, or a reserved code refused once it is paid."""
    case = CASES[name]
    assert await answers(case, database) == case.expected()


@pytest.mark.parametrize("guide", ["coupons", "checkout-publisher"])
def test_the_guides_show_these_very_cases(guide: str) -> None:
    """An example that nobody tries goes out of date without notice."""
    rows = [guide_row(case) for case in CASES.values() if case.guide == guide]
    text = (GUIDES / f"{guide}.md").read_text("utf-8")
    table = "\n".join([GUIDE_HEAD, *rows])
    assert not rows or table in text, f"In docs/guides/{guide}.md the table is to read:\n{table}"
