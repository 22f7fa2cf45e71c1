"""Webhooks by the command: received and verified on this machine, tested, and replayed from dead letters."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from mintwire.cli.client import ask, fetch
from mintwire.terminal import CLOSED_EXIT_CODE
from tests.mintwire.cli.conftest import Mintwire, until
from tests.services.webhooks.receiver import Receiver, running_receiver


async def said(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    async with asyncio.timeout(60):
        return (await stream.readline()).decode()


async def opened(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """Return the listener's id and its secret, once it is open."""
    words = (await said(process.stderr)).split()
    assert words[1:2] + words[3:5] == ["listener", "is", "open"] or words[3:5] == ["is", "open;"], words
    return words[2], next(word for word in words if word.startswith("whsec_")).rstrip(";")


async def ended(process: asyncio.subprocess.Process) -> str:
    """Wait for its end and return the rest of its output."""
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 0, err
    return err.decode()


async def test_a_redeemed_code_is_heard_and_verified(mintwire: Mintwire) -> None:
    arguments = ("webhook", "listen", "--event-type", "code.redeemed", "--count", "1", "--json")
    async with mintwire.started(*arguments) as process:
        await opened(process)
        code = (await mintwire.json("code", "generate"))["code"]
        await mintwire("checkout", "complete", code, "--attribute", "recipient_name=Sarah")
        heard = json.loads(await said(process.stdout))
        assert (heard["body"]["event"], heard["body"]["code"]) == ("code.redeemed", code)
        assert heard["body"]["recipient_name"] == "Sarah"
        assert heard["webhook_id"].startswith("msg_")
        assert "1 received" in await ended(process)
    [delivery] = await mintwire.json("webhook", "deliveries", "--event-type", "code.redeemed")
    assert (delivery["status"], delivery["message_id"]) == ("succeeded", heard["webhook_id"])
    assert await mintwire.json("webhook", "endpoints") == []


async def test_what_is_heard_is_forwarded_as_a_webhook_and_its_answer_recorded(mintwire: Mintwire) -> None:
    """The service itself could never reach this receiver: only the command knows where it is."""
    async with running_receiver() as receiver:
        receiver.status = 202
        arguments = ("webhook", "listen", "--forward-to", receiver.url, "--event-type", "code.redeemed", "--count", "2")
        async with mintwire.started(*arguments) as process:
            _, secret = await opened(process)
            for _ in range(2):
                code = (await mintwire.json("code", "generate"))["code"]
                await mintwire("checkout", "complete", code)
            assert "2 received" in await ended(process)
        assert len(receiver.posts) == 2
        for post in receiver.posts:
            post.verify(secret)
    listed = await mintwire.json("webhook", "deliveries", "--status", "succeeded")
    assert {each["message_id"] for each in listed} == {post.id for post in receiver.posts}
    [attempt] = await mintwire.json("webhook", "attempts", listed[0]["id"])
    assert (attempt["trigger"], attempt["status"]) == ("listen", 202)


async def test_a_receiver_that_is_not_there_is_told_and_the_next_one_is_forwarded(mintwire: Mintwire) -> None:
    arguments = ("webhook", "listen", "--forward-to", "http://127.0.0.1:1/", "--event-type", "code.redeemed")
    async with mintwire.started(*arguments, "--count", "1", "--json") as process:
        await opened(process)
        code = (await mintwire.json("code", "generate"))["code"]
        await mintwire("checkout", "complete", code)
        assert json.loads(await said(process.stdout))["forwarded"] == "connect_failed"
        assert "cannot be reached" in await ended(process)
    [delivery] = await mintwire.json("webhook", "deliveries", "--status", "failed")
    assert delivery["last_error_code"] == "connect_failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_end_by_signal_closes_the_listener(mintwire: Mintwire, number: signal.Signals) -> None:
    """An abandoned listener would keep collecting messages."""
    async with mintwire.started("webhook", "listen", "--program", "--forget") as process:
        listener, _ = await opened(process)
        process.send_signal(number)
        assert f"listener {listener} closed; 0 received" in await ended(process)
    url = f"{mintwire.environment['MINTWIRE_WEBHOOKS_URL']}/v1/webhooks/listeners/{listener}/next"
    answer = await ask("POST", url, key=mintwire.environment["MINTWIRE_PROGRAM_KEY"], body={"wait_seconds": 0})
    assert answer.status == 404


async def redeemed(mintwire: Mintwire) -> str:
    code = str((await mintwire.json("code", "generate"))["code"])
    await mintwire("checkout", "complete", code)
    return code


async def test_the_next_start_goes_on_where_the_last_one_stopped(mintwire: Mintwire) -> None:
    """Unless it is told to start over, and then the waiting messages are gone."""
    arguments = ("webhook", "listen", "--event-type", "code.redeemed", "--json", "--name", "here")

    async def is_waiting() -> bool:
        return bool(await mintwire.json("webhook", "deliveries", "--status", "pending"))

    async with mintwire.started(*arguments, "--count", "1") as process:
        listener, _ = await opened(process)
        first = await redeemed(mintwire)
        assert json.loads(await said(process.stdout))["body"]["code"] == first
        assert "for three days" in await ended(process)
    missed = await redeemed(mintwire)
    await until(is_waiting, "what came meanwhile")
    async with mintwire.started(*arguments, "--count", "1") as process:
        again, _ = await opened(process)
        assert again == listener
        assert "here resumes where it stopped; 1 are waiting" in await said(process.stderr)
        heard = json.loads(await said(process.stdout))
        assert (heard["body"]["code"], heard["repeated"]) == (missed, False)
        await ended(process)
    await redeemed(mintwire)
    await until(is_waiting, "what came meanwhile")
    async with mintwire.started(*arguments, "--from-now", "--count", "1", "--forget") as process:
        await opened(process)
        assert "0 are waiting" in await said(process.stderr)
        last = await redeemed(mintwire)
        assert json.loads(await said(process.stdout))["body"]["code"] == last
        assert f"listener {listener} closed; 1 received" in await ended(process)


async def test_listening_is_refused_in_words(mintwire: Mintwire) -> None:
    refused = await mintwire("webhook", "listen", "--event-type", "Nonsense!", code=1)
    assert "422" in refused.err
    refused = await mintwire("webhook", "listen", "--forward-to", "localhost:3000", code=2)
    assert "begins with http://" in refused.err


async def test_an_endpoint_is_made_rotated_and_its_webhooks_verified(mintwire: Mintwire, tmp_path: Path) -> None:
    async with running_receiver() as receiver:
        made = await mintwire.json("webhook", "create", receiver.url, "--event-type", "code.redeemed")
        assert made["secret"].startswith("whsec_")
        rotated = await mintwire.json("webhook", "rotate", made["id"], "--grace-seconds", "60")
        assert rotated["secret"] not in (None, made["secret"])
        await mintwire.json("webhook", "test", made["id"])
        [post] = receiver.posts
    (tmp_path / "body").write_bytes(post.body)
    told = [
        *("--webhook-id", post.id, "--timestamp", post.headers["webhook-timestamp"]),
        *("--signature", post.headers["webhook-signature"]),
    ]
    for key in (("--endpoint", made["id"]), ("--secret", made["secret"]), ("--secret", rotated["secret"])):
        assert "verified" in (await mintwire("webhook", "verify", str(tmp_path / "body"), *told, *key)).out
    (tmp_path / "body").write_bytes(post.body + b"\n")
    wrong = await mintwire("webhook", "verify", str(tmp_path / "body"), *told, "--endpoint", made["id"], code=1)
    assert "body_changed" in wrong.out
    refused = await mintwire("webhook", "verify", str(tmp_path / "nothing"), *told, "--endpoint", "x", code=2)
    assert "cannot be read" in refused.err
    assert "give a key" in (await mintwire("webhook", "verify", "body", *told, code=2)).err


async def test_what_failed_is_counted_and_replayed_as_a_job(mintwire: Mintwire) -> None:
    async with running_receiver() as receiver:
        receiver.status = 410
        endpoint = await endpoint_at(mintwire, receiver)
        code = (await mintwire.json("code", "generate"))["code"]
        await mintwire("checkout", "complete", code)

        async def is_dead() -> bool:
            return bool(await mintwire.json("webhook", "deliveries", "--endpoint", endpoint, "--status", "dead"))

        await until(is_dead, "a dead delivery")
        job = ("webhook", "replay", endpoint, "--since", "2020-01-01T00:00:00Z")
        counted = await mintwire.json(*job, "--dry-run")
        assert (counted["status"], counted["matched"], counted["enqueued"]) == ("completed", 1, 0)
        receiver.status = 204
        [dead] = await mintwire.json("webhook", "deliveries", "--status", "dead")
        assert "The receiver answered 410 Gone" in (await mintwire("webhook", "attempts", dead["id"])).out
        assert (await mintwire.json("webhook", "retry", dead["id"]))["trigger"] == "manual"
        done = await mintwire.json(*job, "--which", "all")
        assert (done["status"], done["enqueued"]) == ("completed", 1)
        assert (await mintwire.json(*job, "--no-wait", "--dry-run"))["status"] == "pending"


async def test_a_failing_test_webhook_is_told_by_the_exit_code(mintwire: Mintwire) -> None:
    async with running_receiver() as receiver:
        receiver.status = 500
        endpoint = await endpoint_at(mintwire, receiver)
        attempt = await mintwire.json("webhook", "test", endpoint, code=1)
        assert (attempt["outcome"], attempt["status"]) == ("failed", 500)
        receiver.status = 204
        await mintwire("webhook", "test", endpoint, "--event-type", "code.redeemed")
        assert json.loads(receiver.posts[-1].body)["event"] == "code.redeemed"
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
        refused = await mintwire("webhook", "dead", "replay", endpoint, code=1)
        assert f"{endpoint}: " in refused.err
        assert "404" in refused.err

        receiver.status = 204
        url = f"{mintwire.environment['MINTWIRE_WEBHOOKS_URL']}/v1/webhooks/endpoints/{endpoint}"
        await fetch("PATCH", url, key=mintwire.environment["MINTWIRE_PARTNER_KEY"], body={"status": "active"})
        assert await mintwire.json("webhook", "dead", "replay", letter["id"]) == {"replayed": 1}

        async def is_delivered() -> bool:
            return any(json.loads(post.body).get("code") == code for post in receiver.posts[1:])

        await until(is_delivered, "the replayed delivery")
        await until(lambda: is_empty(mintwire), "no dead delivery")
        none = {"replayed": 0, "is_whole": True}
        assert await mintwire.json("webhook", "dead", "replay", "--all", "--endpoint", endpoint) == none


async def test_a_message_is_sent_again_and_the_endpoint_summed_up(mintwire: Mintwire) -> None:
    async with running_receiver() as receiver:
        made = await mintwire.json("webhook", "create", receiver.url, "--event-type", "code.*", "--uid", "shop-1")
        for told, count in (("code.redeemed", 1), ("codes.generated", 0)):
            found = await mintwire.json("webhook", "endpoints", "--uid", "shop-1", "--event-type", told)
            assert [each["id"] for each in found] == [made["id"]] * count
        await redeemed(mintwire)

        async def is_told(times: int) -> bool:
            listed = await mintwire.json("webhook", "deliveries", "--endpoint", made["id"], "--status", "succeeded")
            return bool(listed) and listed[0]["attempts_made"] == times

        await until(lambda: is_told(1), "the delivery")
        [message] = await mintwire.json("webhook", "messages", "--event-type", "code.redeemed")
        [resent] = await mintwire.json("webhook", "resend", message["id"], "--endpoint", made["id"])
        assert (resent["endpoint_id"], resent["is_due"]) == (made["id"], True)
        await until(lambda: is_told(2), "the delivery once more")
        assert [post.id for post in receiver.posts] == [message["id"]] * 2
    summed_up = await mintwire.json("webhook", "stats", made["id"])
    assert (summed_up["deliveries"]["succeeded"], summed_up["attempts"]) == (1, {"2xx": 2})
    assert "404" in (await mintwire("webhook", "resend", "msg_" + "0" * 32, code=1)).err


async def test_a_purge_says_which(mintwire: Mintwire) -> None:
    assert "give filters or --all" in (await mintwire("webhook", "dead", "purge", code=2)).err
    assert "give filters or --all" in (await mintwire("webhook", "dead", "purge", "--all", "--reason", "x", code=2)).err
    assert await mintwire.json("webhook", "dead", "purge", "--all") == {"purged": 0, "is_whole": True}


async def test_a_replay_says_which(mintwire: Mintwire) -> None:
    assert "give deliveries or --all" in (await mintwire("webhook", "dead", "replay", code=2)).err
    assert "give deliveries or --all" in (await mintwire("webhook", "dead", "replay", "a", "--all", code=2)).err
    assert "require --all" in (await mintwire("webhook", "dead", "replay", "a", "--endpoint", "b", code=2)).err


async def is_empty(mintwire: Mintwire) -> bool:
    return not await mintwire.json("webhook", "dead", "list")


async def endpoint_at(mintwire: Mintwire, receiver: Receiver) -> str:
    url = f"{mintwire.environment['MINTWIRE_WEBHOOKS_URL']}/v1/webhooks/endpoints"
    body = {"url": receiver.url, "event_types": ["code.redeemed"]}
    return str((await fetch("POST", url, key=mintwire.environment["MINTWIRE_PARTNER_KEY"], body=body))["id"])


async def test_an_event_of_ones_own_is_published_shown_and_forgotten(mintwire: Mintwire, tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text('{"card_id": "a1b2c3d4"}')
    send = ("webhook", "message", "send", "custom.card.sent")
    made = await mintwire.json(*send, "--payload", '{"card_id": "a1b2c3d4"}', "--event-id", "e-1")
    assert (made["event_type"], made["event_id"], made["deliveries"]) == ("custom.card.sent", "e-1", 0)
    again = await mintwire.json(*send, "--file", str(tmp_path / "payload.json"), "--event-id", "e-1")
    assert again["id"] == made["id"]
    shown = await mintwire.json("webhook", "message", "show", made["id"], "--program")
    assert shown["data"] == {"card_id": "a1b2c3d4"}
    assert (await mintwire.json("webhook", "message", "redact", made["id"]))["data"] is None
    assert "409" in (await mintwire(*send, "--payload", "{}", "--event-id", "e-1", code=1)).err
    for wrong in ((), ("--payload", "[]"), ("--payload", "{"), ("--file", str(tmp_path / "nothing"))):
        assert "payload" in (await mintwire(*send, *wrong, code=2)).err


async def test_the_rules_are_shown(mintwire: Mintwire) -> None:
    assert (await mintwire.json("webhook", "rules"))["retention"]["payloads_days"] == 30


async def test_deliveries_are_shown_live_with_what_becomes_of_them(mintwire: Mintwire) -> None:
    async with running_receiver() as receiver:
        endpoint = await endpoint_at(mintwire, receiver)
        receiver.status = 503
        async with mintwire.started("webhook", "tail", "--lines", "0", "--json", "--event-type", "code.*") as process:
            assert "Ctrl-C" in await said(process.stderr)
            await redeemed(mintwire)
            failing = json.loads(await said(process.stdout))
            assert (failing["endpoint_id"], failing["status"]) == (endpoint, "pending")
            while not failing["attempts_made"]:
                failing = json.loads(await said(process.stdout))
            assert (failing["last_status"], failing["status"]) == (503, "pending")
            receiver.status = 204
            await mintwire("webhook", "retry", failing["id"])
            arrived = json.loads(await said(process.stdout))
            assert (arrived["id"], arrived["status"], arrived["attempts_made"]) == (failing["id"], "succeeded", 2)
            process.send_signal(signal.SIGINT)
            assert await ended(process) == ""
        shown = await mintwire("webhook", "tail", "--program", "--count", "1", "--lines", "1")
        assert f"{failing['id']}  code.redeemed  succeeded  204  after 2 attempts" in shown.out


@pytest.mark.parametrize(
    "arguments", [("tail", "--endpoint", "01920000-0000-7000-8000-000000000000"), ("listen",)], ids=" ".join
)
async def test_what_nobody_reads_ends_by_itself(mintwire: Mintwire, arguments: tuple[str, ...]) -> None:
    """Without deliveries nothing is written, so it would never notice that its reader has gone."""
    async with mintwire.started("webhook", *arguments) as process:
        transport: Any = process._transport  # type: ignore[attr-defined]
        transport.get_pipe_transport(1).close()
        assert process.stderr is not None
        async with asyncio.timeout(60):
            assert b"Traceback" not in await process.stderr.read()
            assert await process.wait() == CLOSED_EXIT_CODE
