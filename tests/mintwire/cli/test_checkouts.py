"""A checkout by the command: a real event is published, and its result decides the exit code."""

from mintwire.stack import ports
from shared.ids import new_id
from tests.mintwire.cli.conftest import Mintwire, until


async def codes_of(mintwire: Mintwire, count: int) -> list[str]:
    return [(await mintwire.json("code", "generate"))["code"] for _ in range(count)]


async def test_an_order_redeems_its_codes_once(mintwire: Mintwire) -> None:
    first, second = "SPRING-25", "HELLO-10"
    await mintwire("coupon", "create", "spring", "--percent", "25", "--code", first)
    await mintwire("coupon", "create", "hello", "--percent", "10", "--code", second)
    order = ("--order-ref", "order-1", "--customer-id", "c-1", "--email", "sarah@example.com")
    price = ("--currency", "USD", "--subtotal", "2900", "--attribute", "recipient_name=Sarah")
    answer = await mintwire.json("checkout", "complete", first, second, first.lower(), *order, *price)
    assert (answer["outcome"], answer["order_ref"], answer["unheard"]) == ("redeemed", "order-1", [])
    assert {event["code"] for event in answer["redeemed"]} == {first, second}
    event = answer["redeemed"][0]
    assert event["customer"] == {"id": "c-1", "email": "sarah@example.com", "is_first_order": None}
    assert event["order"]["subtotal"] == 2900
    assert event["attributes"] == {"recipient_name": "Sarah"}


async def test_a_code_that_the_others_leave_nothing_to_do_is_told_as_skipped(mintwire: Mintwire) -> None:
    first, second = await codes_of(mintwire, 2)
    done = await mintwire("checkout", "complete", first, second)
    assert f"redeemed  {first}" in done.out
    assert f"skipped   {second}  not_combinable" in done.out

    async def is_used() -> bool:
        shown = await mintwire.json("code", "show", first)
        return bool(shown["status"] == "redeemed")

    await until(is_used, "the use to show on the code")
    shown = await mintwire.json("checkout", "complete", second)
    assert (shown["outcome"], shown["skipped"]) == ("redeemed", [])


async def test_a_used_code_is_refused_with_the_reason(mintwire: Mintwire) -> None:
    [code] = await codes_of(mintwire, 1)
    done = await mintwire("checkout", "complete", code)
    assert f"redeemed  {code}" in done.out
    refused = await mintwire("checkout", "complete", code, "--json", code=1)
    assert (refused.json["outcome"], refused.json["rejected"]["reason"]) == ("rejected", "code_used")
    assert refused.json["unheard"] == []
    assert f"rejected: {code}: code_used" in refused.err


async def test_a_repetition_is_heard_as_nothing_and_told_so(mintwire: Mintwire) -> None:
    [code] = await codes_of(mintwire, 1)
    event_id = str(new_id())
    order = ("--order-ref", "order-1", "--event-id", event_id)
    await mintwire("checkout", "complete", code, *order)
    again = await mintwire("checkout", "complete", code, "--order-ref", "order-1", "--timeout", "1", code=3)
    assert "a repeat changes nothing" in again.err
    assert "mintwire dead show redemption.checkout" in again.err


async def test_what_is_not_an_event_is_refused_before_it_is_sent(mintwire: Mintwire) -> None:
    assert "NAME=VALUE" in (await mintwire("checkout", "complete", "X", "--attribute", "Sarah", code=2)).err
    assert "program_id" in (await mintwire("checkout", "complete", "X", "--program", "no-uuid", code=2)).err
    assert "currency" in (await mintwire("checkout", "complete", "X", "--currency", "dollars", code=2)).err
    assert "codes" in (await mintwire("checkout", "complete", *"ABCDEFGHIJK", code=2)).err
    assert "CODES" in (await mintwire("checkout", "complete", code=2)).err


async def test_a_broker_that_is_away_is_told_without_the_password(mintwire: Mintwire) -> None:
    """The broker's URL contains the password, and the driver's errors contain the URL."""
    port = ports.free_port()
    mintwire.environment["MINTWIRE_AMQP_URL"] = f"amqp://operator:secret-word@127.0.0.1:{port}/mintwire"
    refused = await mintwire("checkout", "complete", "X", code=1)
    assert f"The broker at 127.0.0.1:{port} cannot be reached: " in refused.err
    assert "secret-word" not in refused.err + refused.out


async def test_a_refused_login_is_told_without_the_password(mintwire: Mintwire) -> None:
    """The broker's URL contains the password, and the driver's errors contain the URL."""
    url = mintwire.environment["MINTWIRE_AMQP_URL"]
    mintwire.environment["MINTWIRE_AMQP_URL"] = url.replace("operator-test", "secret-word")
    refused = await mintwire("checkout", "complete", "X", code=1)
    assert "ACCESS_REFUSED" in refused.err
    assert "secret-word" not in refused.err + refused.out
