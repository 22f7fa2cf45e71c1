"""Cases of the four doors about who buys, when, and what of a purchase cannot be kept."""

from datetime import timedelta
from typing import Final

from tests.contracts.four_doors import Case, Coupon, Refuses, Takes, order
from tests.services.redemption.merchant import NOW

GUEST: Final = {"email": "jane@acme.example"}
TEN: Final = Coupon(codes=("TEN",))
UNTIL: Final = Coupon(codes=("TEN",), columns={"expires_at": NOW + timedelta(minutes=10)}, says="ends in 10 min")
TWICE: Final = Coupon(codes=("TEN",), columns={"customer_redemption_limit": 2})
MONTHS: Final = Coupon(codes=("TEN",), columns={"duration_type": "months", "duration_value": 8}, says="for 8 months")

WHO_AND_WHEN: Final[dict[str, Case]] = {
    "a guest who has signed in": Case(
        rule="A customer's uses count by mailbox, in any spelling, and by `id`, so a guest may sign in later.",
        guide="coupons",
        coupons=(Coupon(codes=("TEN",), columns={"customer_redemption_limit": 1}),),
        before=({"codes": ["TEN"], "order": order(4_900), "customer": GUEST, "order_ref": "order-0"},),
        asks={
            "codes": ["TEN"],
            "order": order(4_900),
            "customer": {"id": "c-1", "email": "Jane+shop@ACME.example."},
        },
        answer=Refuses("TEN", "customer_limit_reached"),
    ),
    "a customer of a customer": Case(
        rule="They go no further: other uses of an `id` that once had the mailbox are not its own.",
        guide="coupons",
        coupons=(TWICE,),
        before=(
            {"codes": ["TEN"], "order": order(4_900), "customer": {"id": "c-1", **GUEST}, "order_ref": "order-0"},
            {"codes": ["TEN"], "order": order(4_900), "customer": {"id": "c-1"}, "order_ref": "order-00"},
        ),
        asks={"codes": ["TEN"], "order": order(4_900), "customer": GUEST},
        answer=Takes({"TEN": 490}),
    ),
    "a customer by both": Case(
        coupons=(TWICE,),
        before=(
            {"codes": ["TEN"], "order": order(4_900), "customer": {"id": "c-1"}, "order_ref": "order-0"},
            {"codes": ["TEN"], "order": order(4_900), "customer": GUEST, "order_ref": "order-00"},
        ),
        asks={"codes": ["TEN"], "order": order(4_900), "customer": {"id": "c-1", **GUEST}},
        answer=Refuses("TEN", "customer_limit_reached"),
    ),
    "a new day where the program is": Case(
        rule="For `redemptions_per_day` a day is the program's: where it was 23:00, an hour later is the next one.",
        guide="coupons",
        program={"timezone": "Pacific/Noumea"},
        coupons=(Coupon(codes=("TEN",), columns={"daily_redemption_limit": 1}),),
        before=({"codes": ["TEN"], "order": order(4_900), "order_ref": "order-0"},),
        minutes_later=(60,),
        asks={"codes": ["TEN"], "order": order(4_900)},
        answer=Takes({"TEN": 490}),
    ),
    "the same day where the program is": Case(
        program={"timezone": "Pacific/Noumea"},
        coupons=(Coupon(codes=("TEN",), columns={"daily_redemption_limit": 1}),),
        before=({"codes": ["TEN"], "order": order(4_900), "order_ref": "order-0"},),
        minutes_later=(59,),
        asks={"codes": ["TEN"], "order": order(4_900)},
        answer=Refuses("TEN", "period_limit_reached"),
    ),
    "months on the program's calendar": Case(
        rule="Days, months and years of a discount are the program's too (redemption and event say when it ends).",
        guide="coupons",
        program={"timezone": "America/New_York"},
        coupons=(
            Coupon(codes=("TEN",), columns={"duration_type": "months", "duration_value": 8}, says="for 8 months"),
        ),
        order_says="`TEN`, at 8:00 there on 18 March, in summer time",
        asks={"codes": ["TEN"], "order": order(4_900)},
        answer=Takes({"TEN": 490}, ends={"TEN": "2026-11-18T13:00:00Z"}),
    ),
    "a reserved code that has ended": Case(
        rule="A reservation honours its codes past their end, until it ends itself.",
        guide="coupons",
        coupons=(UNTIL,),
        held={"codes": ["TEN"], "order": order(4_900), "ttl_seconds": 900},
        minutes_later=(14,),
        asks={"codes": ["TEN"], "order": order(4_900)},
        answer=Takes({"TEN": 490}),
    ),
    "a reserved code that has ended, reserved again": Case(
        rule="Once a code has ended, repeating the reservation does not extend it.",
        guide="coupons",
        coupons=(UNTIL,),
        held={"codes": ["TEN"], "order": order(4_900), "ttl_seconds": 900},
        minutes_later=(14, 16),
        asks={"codes": ["TEN"], "order": order(4_900)},
        answer=Refuses("TEN", "code_expired"),
    ),
    "a reserved code, reserved again before it ends": Case(
        coupons=(UNTIL,),
        held={"codes": ["TEN"], "order": order(4_900), "ttl_seconds": 900},
        minutes_later=(9, 23),
        asks={"codes": ["TEN"], "order": order(4_900)},
        answer=Takes({"TEN": 490}),
    ),
    "attributes": Case(
        rule="Attributes, which a purchase has, may be any number; one that cannot be kept is left out.",
        guide="checkout-publisher",
        coupons=(TEN,),
        asks={"codes": ["TEN"], "order": order(4_900), "attributes": {"card": 2**60, "recipients": ["Sarah"]}},
        answer=Takes({"TEN": 490}),
    ),
}
