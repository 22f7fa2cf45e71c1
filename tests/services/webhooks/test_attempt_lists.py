"""Attempts of an endpoint by what they were made for, and deliveries of an event."""

from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed
from tests.services.webhooks.receiver import Receiver


async def test_the_history_of_tests_is_whole_and_has_nothing_else(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    other = await service.endpoint(merchant.partner_key, receiver.url)
    sent = []
    for nth in range(5):
        await service.consume(code_redeemed(merchant, f"C{nth}"))
        for each in (endpoint, other):
            tested = await service.send("POST", f"/endpoints/{each['id']}/test", merchant.partner_key)
            assert tested.status == 200, tested.body
            sent += [tested.data["id"]] if each is endpoint else []
    path = f"/endpoints/{endpoint['id']}/attempts"
    found = await service.pages(path, merchant.partner_key, "&trigger=test")
    assert [attempt["id"] for attempt in found] == sent[::-1]
    assert {attempt["trigger"] for attempt in found} == {"test"}
    await service.settled(20)
    everything = await service.pages(path, merchant.partner_key)
    assert [attempt["trigger"] for attempt in everything].count("automatic") == 5
    assert len(everything) == 10


async def test_many_attempts_of_one_delivery_go_over_pages(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant, "A"), code_redeemed(merchant, "B"))
    await service.settled(2)
    deliveries = (await service.send("GET", "/deliveries", merchant.partner_key)).data
    for delivery in deliveries:
        for _ in range(4):
            await service.send("POST", f"/deliveries/{delivery['id']}/retry", merchant.partner_key)
    path = f"/endpoints/{endpoint['id']}/attempts"
    found = await service.pages(path, merchant.partner_key)
    assert [(each["delivery_id"], each["number"]) for each in found] == [
        (delivery["id"], number) for delivery in deliveries for number in (5, 4, 3, 2, 1)
    ]
    by_hand = await service.pages(path, merchant.partner_key, "&trigger=manual")
    assert [each["number"] for each in by_hand] == [5, 4, 3, 2] * 2
    foreign = await service.send("GET", f"/endpoints/{new_id()}/attempts", merchant.partner_key)
    assert foreign.status == 404


async def test_deliveries_are_found_by_their_event(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.endpoint(merchant.program_key, receiver.url, event_types=["code.redeemed", "custom.*"])
    event, another = code_redeemed(merchant, "A"), code_redeemed(merchant, "B")
    await service.consume(event, another)
    body = {"event_type": "custom.sent", "event_id": "card-4711", "payload": {}}
    assert (await service.send("POST", "/messages", merchant.program_key, body)).status == 201

    async def found(key: str, query: str) -> list[str]:
        return [each["event_type"] for each in (await service.send("GET", f"/deliveries?{query}", key)).data]

    assert await found(merchant.program_key, f"event_id={event.id}") == ["code.redeemed"] * 2
    assert await found(merchant.partner_key, f"event_id={event.id}") == ["code.redeemed"]
    assert await found(merchant.program_key, "event_id=card-4711") == ["custom.sent"]
    assert await found(merchant.partner_key, "event_id=card-4711") == []
    [delivery] = (await service.send("GET", f"/deliveries?event_id={another.id}", merchant.partner_key)).data
    both = f"event_id={event.id}&message_id={delivery['message_id']}"
    assert await found(merchant.program_key, both) == []
    both = f"event_id={another.id}&message_id={delivery['message_id']}"
    assert await found(merchant.partner_key, both) == ["code.redeemed"]
