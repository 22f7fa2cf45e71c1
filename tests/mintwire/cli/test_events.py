"""Republished events reach every consumer that missed them, and none twice."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiormq
import pytest

from mintwire.cli.client import fetch
from shared.broker import topology
from shared.broker.operator.depths import depths
from shared.broker.operator.watch import watching
from shared.clock import utc_now
from shared.times import format_milliseconds
from tests.mintwire.cli.conftest import Merchant, Mintwire, until
from tests.mintwire.cli.test_doctor import broken, on_channel
from tests.running import RunningServices
from tests.services.webhooks.receiver import Receiver, running_receiver


@asynccontextmanager
async def endpoint(mintwire: Mintwire) -> AsyncIterator[Receiver]:
    """A receiver that gets the partner's redemptions."""
    async with running_receiver() as receiver:
        url = f"{mintwire.environment['MINTWIRE_WEBHOOKS_URL']}/v1/webhooks/endpoints"
        body = {"url": receiver.url, "event_types": ["code.redeemed"]}
        await fetch("POST", url, key=mintwire.environment["MINTWIRE_PARTNER_KEY"], body=body)
        yield receiver


async def redeem(mintwire: Mintwire, count: int) -> set[str]:
    """Redeem some codes over HTTP."""
    codes = {str((await mintwire.json("code", "generate"))["code"]) for _ in range(count)}
    for code in codes:
        await mintwire("checkout", "redeem", code)
    return codes


def heard(receiver: Receiver) -> Counter[str]:
    return Counter(json.loads(post.body)["code"] for post in receiver.posts)


async def are_heard_once(receiver: Receiver, codes: Iterable[str]) -> None:
    async def is_complete() -> bool:
        return set(heard(receiver)) == set(codes)

    await until(is_complete, "every webhook")
    assert heard(receiver) == Counter(codes)


async def drained(mintwire: Mintwire, *queues: str) -> None:
    async def are_empty() -> bool:
        found = await depths(mintwire.environment["MINTWIRE_AMQP_URL"], queues)
        return all(depth is not None and not depth.messages for depth in found.values())

    await until(are_empty, "the queues to be empty")


async def unbound(mintwire: Mintwire, services: RunningServices) -> None:
    """Remove the binding that brings redemptions to webhooks; a running consumer would bind again."""
    assert await services["webhooks"].stop() == 0
    await on_channel(mintwire, lambda channel: channel.queue_unbind("webhooks.events", "redemption", "#"))


async def started(services: RunningServices, name: str) -> None:
    services[name].start()
    await services[name].ready()


async def test_after_a_lost_binding_the_missed_webhooks_come_and_none_twice(
    mintwire: Mintwire, merchant: Merchant, services: RunningServices
) -> None:
    """Events published while a binding was missing reach no queue, and nothing else brings them back."""
    since = format_milliseconds(utc_now())
    async with endpoint(mintwire) as receiver:
        early = await redeem(mintwire, 2)
        await are_heard_once(receiver, early)
        await unbound(mintwire, services)
        missed = await redeem(mintwire, 3)
        wrong = broken(await mintwire.json("doctor", code=1))
        assert wrong["broker bindings"]["detail"] == "missing: webhooks.events to redemption by #"
        assert "mintwire events republish" in wrong["broker bindings"]["remedy"]
        assert "unrouted is empty" not in wrong
        # The consumer binds its queue again when it connects.
        await started(services, "webhooks")

        async def is_whole() -> bool:
            return "broker bindings" not in broken((await mintwire("doctor", "--json", code=None)).json)

        await until(is_whole, "the binding to come back by itself")
        late = await redeem(mintwire, 1)
        await are_heard_once(receiver, early | late)
        chosen = ("--since", since, "--type", "code.redeemed", "--program", merchant.program_id)
        counted = await mintwire.json("events", "republish", *chosen, "--dry-run")
        assert counted == {"matched": 6, "types": {"code.redeemed": 6}}
        await drained(mintwire, "webhooks.events")
        assert heard(receiver) == Counter(early | late)
        sent = await mintwire.json("events", "republish", *chosen)
        assert sent == {"published": 6, "types": {"code.redeemed": 6}}
        await are_heard_once(receiver, early | missed | late)
        await mintwire("events", "republish", *chosen)
        await drained(mintwire, "webhooks.events", "codes.redemptions")
        await asyncio.sleep(1)
        assert heard(receiver) == Counter(early | missed | late)
    assert broken(await mintwire.json("doctor")) == {}


async def test_a_wiped_broker_is_declared_again_and_filled_from_the_history(
    mintwire: Mintwire, services: RunningServices
) -> None:
    """The contents of the queues are gone; published events are in the history, unpublished ones in the outbox."""
    since = format_milliseconds(utc_now())
    async with endpoint(mintwire) as receiver:
        await drained(mintwire, "webhooks.events", "codes.redemptions")
        codes = {str((await mintwire.json("code", "generate"))["code"]) for _ in range(4)}
        assert await services["webhooks"].stop() == 0
        for code in sorted(codes)[:3]:
            await mintwire("checkout", "redeem", code)

        async def is_waiting() -> bool:
            depth = (await depths(mintwire.environment["MINTWIRE_AMQP_URL"], ["webhooks.events"]))["webhooks.events"]
            return depth is not None and depth.messages >= 3

        await until(is_waiting, "the events to be in the queue that is wiped")
        await on_channel(mintwire, wipe)
        # Redemptions continue meanwhile.
        await mintwire("checkout", "redeem", sorted(codes)[3])
        wrong = broken(await mintwire.json("doctor", code=1))
        assert "exchange redemption" in wrong["broker topology"]["detail"]
        assert "queue webhooks.events" in wrong["broker topology"]["detail"]
        await mintwire("doctor", "--fix", code=None)
        for name in ("codes", "redemption"):
            await services[name].ready()
        await started(services, "webhooks")
        assert (await mintwire.json("events", "republish", "--since", since))["types"]["code.redeemed"] >= 4
        await are_heard_once(receiver, codes)

        async def are_shown() -> bool:
            shown = [await mintwire.json("code", "show", code) for code in codes]
            return {each["status"] for each in shown} == {"redeemed"}

        await until(are_shown, "all of them to be shown as redeemed")
        assert heard(receiver) == Counter(codes)
    assert broken(await mintwire.json("doctor")) == {}


async def wipe(channel: aiormq.abc.AbstractChannel) -> None:
    """Delete everything of ours on the broker."""
    for queue in topology.QUEUES:
        await channel.queue_delete(queue.name)
    for exchange in topology.EXCHANGES:
        await channel.exchange_delete(exchange.name)


async def test_one_queue_alone_gets_what_it_is_bound_for(mintwire: Mintwire, services: RunningServices) -> None:
    """Past the exchange a queue would get any event, and dead-letter those it does not know."""
    since = format_milliseconds(utc_now())
    await redeem(mintwire, 2)
    await drained(mintwire, "webhooks.events", "codes.redemptions")
    url = mintwire.environment["MINTWIRE_AMQP_URL"]
    async with watching(url, "redemption", ["#"]) as hear:
        to_codes = await mintwire.json("events", "republish", "--since", since, "--to", "codes.redemptions")
        assert to_codes == {"published": 2, "types": {"code.redeemed": 2}}
        to_webhooks = await mintwire.json("events", "republish", "--since", since, "--to", "webhooks.events")
        assert to_webhooks["types"].keys() >= {"code.redeemed", "codes.generated"}
        assert await hear(0.5) is None
    await drained(mintwire, "webhooks.events", "codes.redemptions")
    assert broken(await mintwire.json("doctor")) == {}


async def test_an_interrupted_run_says_from_when_to_go_on(mintwire: Mintwire, services: RunningServices) -> None:
    since = format_milliseconds(utc_now())
    await redeem(mintwire, 6)
    chosen = ("--type", "code.redeemed")
    async with (
        watching(mintwire.environment["MINTWIRE_AMQP_URL"], "redemption", ["code.redeemed"]) as hear,
        mintwire.started("events", "republish", "--since", since, *chosen, "--rate", "1") as process,
    ):
        for _ in range(6):
            assert await hear(30)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = (await process.stderr.read()).decode()
    assert "Traceback" not in said, said
    place = said.partition(" events republished; continue with --since ")[2].split()[0]
    assert since < place
    # Whether the last confirms arrived before the signal is a matter of chance; from there on it is complete.
    left = (await mintwire.json("events", "republish", "--since", place, *chosen))["published"]
    assert 1 <= left <= 6
    await drained(mintwire, "webhooks.events", "codes.redemptions")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--type", "code.unheard_of"), "no service publishes code.unheard_of; the types are code.commission_changed,"),
        (("--type", "checkout.*"), "no service publishes checkout.*"),
        (("--to", "redemption.checkout"), "--to takes codes.redemptions or webhooks.events"),
        (("--to", "nowhere"), "--to takes codes.redemptions or webhooks.events"),
        (("--rate", "0"), "--rate must be at least 1"),
        (("--program", "no-id"), "program_id: The program_id parameter must be the id of a program"),
        (("--until", "yesterday"), "until: The until parameter must be a date and time"),
    ],
)
async def test_what_cannot_be_meant_is_refused_in_words(bare: Mintwire, arguments: tuple[str, ...], said: str) -> None:
    refused = await bare("events", "republish", "--since", "2026-03-18T00:00:00Z", *arguments, code=None)
    assert refused.code in {1, 2}
    assert said in refused.err


async def test_without_the_token_there_is_no_history(bare: Mintwire, merchant: Merchant) -> None:
    """The history has every tenant's events."""
    keys = (("wrong-token-of-an-operator", "401, invalid_api_key"), (merchant.program_key, "403, operator_only"))
    for token, said in keys:
        bare.environment["MINTWIRE_OPERATOR_TOKEN"] = token
        refused = await bare("events", "republish", "--since", "2026-03-18T00:00:00Z", "--dry-run", code=1)
        assert said in refused.err
