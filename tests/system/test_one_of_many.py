"""One endpoint, one row or one process that is broken is seen by name, and nobody else notices."""

import asyncio
import base64
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from mintwire.stack import ports
from tests.servers import ROOT
from tests.system.bystanders import bystanders
from tests.system.signs import Signs
from tests.system.stack import Receiver, Stack, completed, publish_all, until

DEAD_PORT = "http://127.0.0.1:9/hooks"
# Longer than any periodic task that is at stake here waits between two runs.
A_WHILE_SECONDS = 8.0
FLIP = """
UPDATE webhooks.endpoint_keys SET sealed_secret = set_byte(sealed_secret, 30, get_byte(sealed_secret, 30) # 1)
WHERE endpoint_id = $1
"""
REFUSE = """
CREATE FUNCTION public.refuse_the_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.archived_at IS NOT NULL AND OLD.url = 'listener' THEN
        RAISE EXCEPTION 'a damaged row' USING ERRCODE = 'data_exception';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_the_end BEFORE UPDATE ON webhooks.endpoints FOR EACH ROW EXECUTE FUNCTION public.refuse_the_end();
"""


def webhooks(stack: Stack, path: str) -> str:
    return f"{stack.url('webhooks')}/v1/webhooks{path}"


def program_key(stack: Stack) -> str:
    key: str = stack.told["program"]["api_key"]
    return key


async def value(stack: Stack, sql: str, *arguments: object) -> Any:
    rows = await stack.rows(sql, *arguments)
    return rows[0][0] if rows else None


async def until_so(stack: Stack, sql: str, *arguments: object) -> None:
    async with asyncio.timeout(60):
        while not await value(stack, sql, *arguments):  # noqa: ASYNC110 - there is no event to wait on
            await asyncio.sleep(0.1)


@pytest.mark.timeout(240)
async def test_a_line_that_is_held_up_for_good_takes_nobody_down(stack: Stack) -> None:
    """With settings that the guide recommends, one endpoint once ended the webhooks of everybody."""
    signs, pid, key = Signs(stack), stack.pid("webhooks"), program_key(stack)
    async with bystanders(stack):
        wanted = {"url": DEAD_PORT, "event_types": ["custom.*"], "schedule": [1]}
        wanted |= {"ordering": "strict", "on_exhausted": "block"}
        endpoint = await stack.made(webhooks(stack, "/endpoints"), key=key, body=wanted)
        for number in range(2):
            body = {"event_type": "custom.card.sent", "event_id": f"{endpoint['id']}-{number}", "payload": {}}
            await stack.made(webhooks(stack, "/messages"), key=key, body=body)
        waits = "SELECT 1 FROM webhooks.delivery_queue WHERE endpoint_id = $1 AND visible_at = 'infinity'"
        dead = "SELECT 1 FROM webhooks.dead_letters WHERE endpoint_id = $1"
        for sql in (waits, dead):
            await until_so(stack, sql, uuid.UUID(endpoint["id"]))
        await asyncio.sleep(A_WHILE_SECONDS)
    assert stack.pid("webhooks") == pid
    await signs.in_doctor("no webhook is dead", "dead letters 1")
    assert [line for line in signs.lines("webhooks") if line["event"] == "maintenance_failed"] == []
    await stack.call("POST", webhooks(stack, "/dead-letters/purge"), key=key, body={"endpoint_id": endpoint["id"]})
    await stack.call("DELETE", webhooks(stack, f"/endpoints/{endpoint['id']}"), key=key)
    await signs.doctor_is_content()


@pytest.mark.timeout(240)
async def test_a_periodic_task_that_fails_is_named_everywhere_and_nobody_else_notices(stack: Stack) -> None:
    signs, pid, partner = Signs(stack), stack.pid("webhooks"), await stack.new_partner()
    listener = await stack.made(webhooks(stack, "/listeners"), key=partner.key, body={})
    failures = "mintwire_maintenance_failures_total"
    before = await signs.metric("webhooks", failures, task="expire_listeners")
    async with bystanders(stack):
        await run(stack, REFUSE)
        try:
            await stack.rows(
                "UPDATE webhooks.endpoints SET listens_until = now() - interval '1 hour' WHERE id = $1",
                uuid.UUID(listener["id"]),
            )
            await signs.in_doctor("webhooks expire_listeners", "failing since")
            await signs.in_metric("webhooks", failures, above=before, task="expire_listeners")
            await signs.in_log("webhooks", "maintenance_failed", task="expire_listeners")
        finally:
            await run(stack, "DROP TRIGGER refuse_the_end ON webhooks.endpoints; DROP FUNCTION public.refuse_the_end")
    await signs.in_log("webhooks", "maintenance_recovered", task="expire_listeners")
    assert await value(stack, "SELECT archived_at FROM webhooks.endpoints WHERE id = $1", uuid.UUID(listener["id"]))
    assert stack.pid("webhooks") == pid
    await signs.doctor_is_content()


@pytest.mark.timeout(240)
async def test_a_secret_that_cannot_be_opened_holds_back_its_endpoint_alone(stack: Stack) -> None:
    signs, pid, partner = Signs(stack), stack.pid("webhooks"), await stack.new_partner()
    async with Receiver.of(partner) as receiver, stack.checkout() as checkout:
        codes = await partner.codes(3)
        async with bystanders(stack):
            await run(stack, FLIP, uuid.UUID(receiver.endpoint_id))
            await publish_all(checkout, [completed(stack.told["program"]["id"], [code]) for code in codes])
            await signs.in_doctor("webhooks secrets", "cannot be decrypted")
            await signs.in_metric("webhooks", "mintwire_secrets_unreadable", secret="signing_key")
            await signs.in_log("webhooks", "secret_not_decrypted", endpoint_id=receiver.endpoint_id)
            status, health = await stack.call(
                "GET", webhooks(stack, f"/endpoints/{receiver.endpoint_id}/health"), key=partner.key
            )
            assert (status, health["data"]["held_back_by"]) == (200, "secret_unreadable")
            told = (
                "SELECT 1 FROM webhooks.events WHERE type = 'webhook.secret_unreadable'"
                " AND convert_from(body, 'UTF8')::jsonb -> 'data' ->> 'endpoint_id' = $1"
            )
            await until_so(stack, told, receiver.endpoint_id)
        assert receiver.verified == []
        rotate = webhooks(stack, f"/endpoints/{receiver.endpoint_id}/keys/rotate")
        rotated = await stack.made(rotate, key=partner.key, body={})
        receiver.webhook = Webhook(rotated["secret"])
        await until(lambda: sorted(receiver.codes) == sorted(codes), "what was held back")
        assert stack.pid("webhooks") == pid
        await signs.doctor_is_content()


@pytest.mark.timeout(240)
async def test_a_process_with_the_wrong_secret_key_is_not_ready_and_nobody_notices(stack: Stack) -> None:
    """It takes nothing away from those that have the right one, and blames no endpoint."""
    signs = Signs(stack)
    async with bystanders(stack), replica_with_the_wrong_key(stack) as (replica, port):
        async with asyncio.timeout(60):
            while "another WEBHOOKS_SECRET_KEY" not in (await parts(port)).get("secrets", ""):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
        await asyncio.sleep(A_WHILE_SECONDS)
        assert replica.returncode is None
        assert {name for name, state in (await parts(port)).items() if state != "ok"} == {"secrets"}
    await signs.doctor_is_content()


async def run(stack: Stack, sql: str, *arguments: object) -> None:
    if arguments:
        await stack.rows(sql, *arguments)
        return
    for statement in split(sql):
        await stack.rows(statement)


def split(sql: str) -> list[str]:
    """The statements of a script; the body of a function is one with its head."""
    head, mark, tail = sql.rpartition("$$;")
    return [*([head + mark] if mark else []), *(each for each in tail.split(";") if each.strip())]


@asynccontextmanager
async def replica_with_the_wrong_key(stack: Stack) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    port = ports.free_port([], [])
    key = base64.b64encode(b"another key of thirty-two bytes!").decode()
    environment = {**stack.plan.service_environment("webhooks", port), "WEBHOOKS_SECRET_KEY": key}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.webhooks", "serve", env=environment, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        yield process, port
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def parts(port: int) -> dict[str, str]:
    """What a process says of its parts; nothing while it does not answer."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as response:
            found: dict[str, str] = (await response.json())["parts"]
    except aiohttp.ClientConnectionError:
        return {}
    return found
