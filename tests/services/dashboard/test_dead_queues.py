"""The operator's dead queues, on the real redemption service and broker: look, replay, purge."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import aiormq
import pytest
from pamqp.commands import Basic
from pamqp.common import FieldTable

from shared.broker.operator import dead
from shared.times import format_milliseconds
from tests.databases import Database
from tests.running import running_services
from tests.services.dashboard.conftest import Browser, Dashboard, HeldClock, running_dashboard

QUEUE = "redemption.checkout"
PAGE = "/operator/dead-queues"
BODY = b'{"customer": "<script>alert(1)</script>"}'
_HIDDEN = re.compile(r'name="(reason|count|asked_at)" value="([^"]*)"')


@pytest.fixture
async def operated(
    database: Database, clean_broker: dict[str, str], clock: HeldClock
) -> AsyncIterator[tuple[Dashboard, str]]:
    """A dashboard beside a redemption service, and the broker's address."""
    async with (
        running_services(database, clean_broker, names=["redemption"]) as running,
        running_dashboard(database, clock, urls={"redemption": running["redemption"].url}) as dashboard,
    ):
        yield dashboard, clean_broker["operator"]


async def put_dead(url: str, *letters: tuple[str, str]) -> None:
    """Put letters of these reasons and ids into the dead queue."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        for reason, key in letters:
            headers: FieldTable = {
                "x-mintwire-queue": QUEUE,
                "x-mintwire-reason": reason,
                "x-mintwire-detail": f"Why <{reason}>",
            }
            properties = Basic.Properties(message_id=key, headers=headers)
            await channel.basic_publish(BODY, exchange=f"dead.{QUEUE}", routing_key=QUEUE, properties=properties)
    finally:
        await connection.close()


async def ask(browser: Browser, act: str, reason: str) -> dict[str, str]:
    """Open a question and return the form that answers it."""
    page = await browser.get(f"{PAGE}/{QUEUE}/{act}?reason={reason}")
    assert page.status == 200
    return dict(_HIDDEN.findall(page.text))


async def reasons(url: str) -> list[str]:
    return sorted(each.reason for each in await dead.list_dead(url, QUEUE))


@pytest.mark.timeout(120)
async def test_letters_are_grouped_shown_for_a_reason_replayed_and_purged(operated: tuple[Dashboard, str]) -> None:
    dashboard, url = operated
    await put_dead(url, ("no_json", "a"), ("no_json", "b"), ("no_order", "c"))
    operator = await dashboard.signed_in("o@x.example", role="operator")
    page = await operator.get(PAGE)
    assert "3 messages need a decision" in page.text
    assert "Why &lt;no_json&gt;" in page.text
    assert "Message 1 of 2" in page.text
    # What the other services have is not known, so the page does not say that nothing else is dead.
    assert "The codes service does not answer" in page.text
    assert "Message 1 of 1" in (await operator.get(f"{PAGE}?queue={QUEUE}.dead&reason=no_order")).text

    refused = await operator.post(f"{PAGE}/{QUEUE}/show", {"key": "c", "why": "short"})
    assert refused.status == 422
    assert "alert(1)" not in refused.text
    shown = await operator.post(f"{PAGE}/{QUEUE}/show", {"key": "c", "why": "the shop asks for its order"})
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown.text
    assert "<script>alert" not in shown.text

    form = await ask(operator, "purge", "no_json")
    assert form["count"] == "2"
    assert (await operator.post(f"{PAGE}/{QUEUE}/purge", {**form, "typed_name": "another"})).status == 422
    await put_dead(url, ("no_json", "d"))
    moved = await operator.post(f"{PAGE}/{QUEUE}/purge", {**form, "typed_name": QUEUE})
    assert moved.status == 422
    assert "The number of messages has changed" in moved.text
    assert len(await reasons(url)) == 4
    form = await ask(operator, "purge", "no_json")
    assert (await operator.post(f"{PAGE}/{QUEUE}/purge", {**form, "typed_name": QUEUE})).status == 303
    assert await reasons(url) == ["no_order"]

    form = await ask(operator, "replay", "no_order")
    late = {**form, "asked_at": format_milliseconds(dashboard.clock() - timedelta(minutes=11))}
    assert (await operator.post(f"{PAGE}/{QUEUE}/replay", late)).status == 422
    assert await reasons(url) == ["no_order"]
    assert (await operator.post(f"{PAGE}/{QUEUE}/replay", form)).status == 303


@pytest.mark.timeout(120)
async def test_a_queue_of_no_service_is_nothing_and_who_may_look_changes_nothing(
    operated: tuple[Dashboard, str],
) -> None:
    dashboard, url = operated
    await put_dead(url, ("no_json", "a"))
    operator = await dashboard.signed_in("o@x.example", role="operator")
    for queue in ("nothing", "codes", "redemption.other"):
        assert (await operator.get(f"{PAGE}/{queue}/replay")).status in {404, 503}
    looking = await dashboard.signed_in("l@x.example", role="operator", grade="look")
    page = await looking.get(PAGE)
    assert "1 message needs a decision" in page.text
    assert "Replay" not in page.text
    assert "Show the body" not in page.text
    assert (await looking.post(f"{PAGE}/{QUEUE}/show", {"key": "a", "why": "out of curiosity"})).status == 403
    assert await reasons(url) == ["no_json"]
