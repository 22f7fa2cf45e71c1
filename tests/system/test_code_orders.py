"""An order of codes on the whole stack: placed by the partner, approved by the program, reported by signed webhooks."""

from tests.system.stack import Partner, Receiver, Stack, until

TYPES = ["code_order.*"]


async def test_a_partner_without_codes_orders_some_and_mints_again(stack: Stack) -> None:
    """The partner gets the events of its own orders, the program those of all, another partner none."""
    manage = stack.told["program"]["api_key"]
    partner, other = await stack.new_partner(quota=1), await stack.new_partner()
    orders = f"{stack.url('codes')}/api/partners/code-orders"
    decisions = f"{stack.url('codes')}/v1/code-orders"
    async with (
        Receiver.of(partner, TYPES) as own,
        Receiver.of(other, TYPES) as bystander,
        Receiver.of(Partner(stack, "", manage), TYPES) as merchant,
    ):
        assert [(await partner.generate())[0] for _ in range(2)] == [200, 403]
        placed = [
            await stack.call("POST", orders, partner_key=partner.key, body={"count": 2, "reference": reference})
            for reference in ("PO-1", "PO-2", "PO-3", "PO-1")
        ]
        assert [status for status, _ in placed] == [201, 201, 201, 200]
        first, second, third = [answer["id"] for _, answer in placed[:3]]
        for order_id, act, body in ((first, "approve", None), (second, "refuse", {"reason": "Not now."})):
            assert (await stack.call("POST", f"{decisions}/{order_id}/{act}", key=manage, body=body))[0] == 200
        assert (await stack.call("POST", f"{orders}/{third}/cancel", partner_key=partner.key))[0] == 200
        assert [(await partner.generate())[0] for _ in range(3)] == [200, 200, 403]
        await until(lambda: min(len(own.verified), len(merchant.verified)) >= 6, "six webhooks each")
        for receiver in (own, merchant):
            received = {(body["event"], body["code_order_id"]) for _, body, _ in receiver.verified}
            assert received == {
                *(("code_order.created", order_id) for order_id in (first, second, third)),
                ("code_order.granted", first),
                ("code_order.refused", second),
                ("code_order.cancelled", third),
            }
            assert {body["partner_id"] for _, body, _ in receiver.verified} == {partner.id}
        assert (own.refused, merchant.refused, bystander.verified) == (0, 0, [])
