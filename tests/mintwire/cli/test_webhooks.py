"""Webhooks by the command: heard on this machine and verified, tried, and replayed after their death."""

import asyncio
import json
import signal

import aiohttp
import pytest
from yarl import URL

from mintwire.cli.client import fetch
from tests.mintwire.cli.conftest import Mintwire, until
from tests.services.webhooks.receiver import Receiver, running_receiver


async def said(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    async with asyncio.timeout(60):
        return (await stream.readline()).decode()


async def address_of(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """Return the endpoint's id and URL, once it listens."""
    words = (await said(process.stderr)).split()
    assert words[1:2] + words[3:5] == ["endpoint", "listens", "on"], words
    return words[2], words[5].rstrip(";")


async def test_a_redeemed_code_is_heard_and_verified(mintwire: Mintwire) -> None:
    arguments = ("webhook", "listen", "--event-type", "code.redeemed", "--count", "1", "--json")
    async with mintwire.started(*arguments) as process:
        await address_of(process)
        code = (await mintwire.json("code", "generate"))["code"]
        await mintwire("checkout", "complete", code, "--attribute", "recipient_name=Sarah")
        heard = json.loads(await said(process.stdout))
        assert (heard["body"]["event"], heard["body"]["code"]) == ("code.redeemed", code)
        assert heard["body"]["recipient_name"] == "Sarah"
        assert heard["webhook_id"].startswith("msg_")
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    assert await mintwire.json("webhook", "list") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_end_by_signal_takes_the_endpoint_away(mintwire: Mintwire, number: signal.Signals) -> None:
    async with mintwire.started("webhook", "listen", "--program") as process:
        endpoint, url = await address_of(process)
        [listed] = await mintwire.json("webhook", "list", "--program")
        assert (listed["id"], listed["url"]) == (endpoint, url)
        attempt = await mintwire.json("webhook", "test", endpoint, "--program")
        assert (attempt["outcome"], attempt["status"]) == ("succeeded", 204)
        assert (await said(process.stdout)).startswith("verified msg_")
        process.send_signal(number)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    assert await mintwire.json("webhook", "list", "--program") == []


async def test_what_is_not_signed_is_not_shown(mintwire: Mintwire) -> None:
    async with mintwire.started("webhook", "listen") as process:
        _, url = await address_of(process)
        forged = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,forged"}
        async with aiohttp.ClientSession() as session:
            for headers in ({}, forged):
                async with session.post(url, data=b'{"event":"code.redeemed"}', headers=headers) as response:
                    assert response.status == 401
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    assert out == b""
    assert err.count(b"refused a request") == 2


async def test_listening_is_refused_in_words(mintwire: Mintwire) -> None:
    async with running_receiver() as receiver:
        port = str(URL(receiver.url).port)
        refused = await mintwire("webhook", "listen", "--port", port, code=1)
        assert f"cannot listen on 127.0.0.1:{port}" in refused.err
    refused = await mintwire("webhook", "listen", "--event-type", "Nonsense!", code=1)
    assert "422" in refused.err
    assert await mintwire.json("webhook", "list") == []


async def test_a_failing_test_webhook_is_told_by_the_exit_code(mintwire: Mintwire) -> None:
    async with running_receiver() as receiver:
        receiver.status = 500
        endpoint = await endpoint_at(mintwire, receiver)
        attempt = await mintwire.json("webhook", "test", endpoint, code=1)
        assert (attempt["outcome"], attempt["status"]) == ("failed", 500)
    assert "404" in (await mintwire("webhook", "test", "unknown", code=1)).err


async def test_dead_deliveries_are_listed_and_replayed(mintwire: Mintwire) -> None:
    async with running_receiver() as receiver:
        receiver.status = 410
        endpoint = await endpoint_at(mintwire, receiver)
        code = (await mintwire.json("code", "generate"))["code"]
        await mintwire("checkout", "complete", code)

        async def is_dead() -> bool:
            return bool(await mintwire.json("webhook", "dead", "list"))

        await until(is_dead, "a dead delivery")
        [letter] = await mintwire.json(
            "webhook", "dead", "list", "--endpoint", endpoint, "--event-type", "code.redeemed"
        )
        assert letter["last_status"] == 410
        assert letter["id"] in (await mintwire("webhook", "dead", "list", "--program")).out
        refused = await mintwire("webhook", "dead", "replay", letter["id"], code=1)
        assert f"{letter['id']}: " in refused.err
        assert "409, endpoint_disabled" in refused.err

        receiver.status = 204
        url = f"{mintwire.environment['MINTWIRE_WEBHOOKS_URL']}/v1/webhooks/endpoints/{endpoint}"
        await fetch("PATCH", url, key=mintwire.environment["MINTWIRE_PARTNER_KEY"], body={"status": "active"})
        assert await mintwire.json("webhook", "dead", "replay", letter["id"]) == {"replayed": 1}

        async def is_delivered() -> bool:
            return any(json.loads(post.body).get("code") == code for post in receiver.posts[1:])

        await until(is_delivered, "the replayed delivery")
        await until(lambda: is_empty(mintwire), "no dead delivery")
        assert await mintwire.json("webhook", "dead", "replay", "--all", "--endpoint", endpoint) == {"replayed": 0}


async def test_a_replay_says_which(mintwire: Mintwire) -> None:
    assert "say which" in (await mintwire("webhook", "dead", "replay", code=1)).err
    assert "say which" in (await mintwire("webhook", "dead", "replay", "a", "--all", code=1)).err
    assert "go with --all" in (await mintwire("webhook", "dead", "replay", "a", "--endpoint", "b", code=1)).err


async def is_empty(mintwire: Mintwire) -> bool:
    return not await mintwire.json("webhook", "dead", "list")


async def endpoint_at(mintwire: Mintwire, receiver: Receiver) -> str:
    url = f"{mintwire.environment['MINTWIRE_WEBHOOKS_URL']}/v1/webhooks/endpoints"
    body = {"url": receiver.url, "event_types": ["code.redeemed"]}
    return str((await fetch("POST", url, key=mintwire.environment["MINTWIRE_PARTNER_KEY"], body=body))["id"])
