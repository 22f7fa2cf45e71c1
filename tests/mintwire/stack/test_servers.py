"""The private servers start, keep their data through a kill, and listen on loopback only."""

import asyncio
import os
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiormq
import asyncpg
import psutil
import pytest

from mintwire.cli.checks.management import Management
from mintwire.cli.client import CallFailed
from mintwire.stack import processes
from mintwire.stack.servers import Servers
from shared.broker import topology
from shared.broker.policies import POLICIES
from tests.databases import named
from tests.mintwire.stack.driven import Stack, wait_until

NODE = "'mintwire@localhost'"
# `pong` if the node accepts the cookie.
PING = f"net_adm:ping({NODE})"
HANDLERS = f"rpc:call({NODE}, gen_event, which_handlers, [rabbit_event])"


@pytest.fixture(scope="module")
def own(test_run: Path) -> Iterator[Servers]:
    """Servers for this module only, because it kills them."""
    servers = Servers(test_run / "own-servers")
    with servers:
        yield servers
    assert not servers.postgres.is_running()
    assert not servers.rabbitmq.is_running()
    servers.remove()


def listeners(pid: int) -> set[tuple[str, int]]:
    """Return the addresses on which the process listens."""
    connections = psutil.Process(pid).net_connections("tcp")
    return {(each.laddr.ip, each.laddr.port) for each in connections if each.status == psutil.CONN_LISTEN}


class TestPostgres:
    async def test_it_answers_with_checksums_and_durability_on(self, own: Servers) -> None:
        connection = await asyncpg.connect(own.database_url)
        settings = [await connection.fetchval(f"SHOW {name}") for name in ("data_checksums", "fsync")]
        await connection.close()
        assert settings == ["on", "on"]

    async def test_a_wrong_password_is_refused(self, own: Servers) -> None:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(own.database_url.replace("mintwire:", "mintwire:x", 1))

    def test_it_listens_on_loopback_only(self, own: Servers) -> None:
        record = own.postgres.record
        assert record is not None
        assert listeners(record.pid) == {("127.0.0.1", own.postgres.port)}

    async def test_after_a_kill_it_comes_back_with_its_data_at_the_same_address(self, own: Servers) -> None:
        connection = await asyncpg.connect(own.database_url)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
        url, record = own.database_url, own.postgres.record
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        connection.terminate()
        wait_until(lambda: not own.postgres.is_running())
        await asyncio.to_thread(own.postgres.start)
        assert own.database_url == url
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT x FROM kept") == 7
        await connection.close()

    def test_its_password_and_data_are_private(self, own: Servers) -> None:
        """Other users of the machine could read every secret."""
        folder = own.folder / "postgres"
        assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700


class TestRabbitMQ:
    async def test_a_stranger_is_refused_and_there_is_no_guest(self, own: Servers) -> None:
        """RabbitMQ's default guest may do anything."""
        address = f"127.0.0.1:{own.rabbitmq.port}/{topology.VHOST}"
        for user in ("guest:guest", "operator:wrong"):
            with pytest.raises(aiormq.exceptions.ProbableAuthenticationError):
                await aiormq.connect(f"amqp://{user}@{address}")

    async def test_only_the_operator_gets_into_its_management(self, own: Servers) -> None:
        operator = Management.of(own.management_url, own.broker_url("operator"))
        assert {each["name"] for each in await operator.list("policies")} == {each.name for each in POLICIES}
        service = urlsplit(own.broker_url("codes"))
        for user, password in (("codes", service.password or ""), ("guest", "guest"), ("operator", "wrong")):
            stranger = Management.of(own.rabbitmq.management_url(user, password), own.broker_url("operator"))
            with pytest.raises(CallFailed) as refused:
                await stranger.list("queues")
            assert refused.value.status == 401

    async def test_a_message_over_the_limit_is_refused(self, own: Servers) -> None:
        await topology.declare(own.broker_url("operator"))
        connection = await aiormq.connect(own.broker_url("operator"))
        channel = await connection.channel()
        with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed):
            await channel.basic_publish(b"x" * (topology.MESSAGE_LIMIT_BYTES + 1), exchange="checkout")
        await connection.close()

    def test_it_listens_on_loopback_only(self, own: Servers) -> None:
        """The registry and the port for its own tools would hand over the whole broker, and so would management."""
        registry = processes.load(own.folder / "rabbitmq" / "epmd.json")
        assert registry is not None
        broker = listeners(broker_pid(own))
        assert len(broker) == 3
        assert {("127.0.0.1", own.rabbitmq.port), ("127.0.0.1", own.rabbitmq.management_port)} < broker
        assert {host for host, _ in broker | listeners(registry.pid)} <= {"127.0.0.1", "::1"}

    async def test_after_a_kill_it_comes_back_with_its_messages_at_the_same_address(self, own: Servers) -> None:
        url = own.broker_url("operator")
        await topology.declare(url)
        # The broker writes the name of a new queue to disk a little later; a kill within that second loses it.
        await asyncio.sleep(2)
        await publish(url, b"kept")
        os.kill(broker_pid(own), signal.SIGKILL)
        wait_until(lambda: not own.rabbitmq.is_running())
        await asyncio.to_thread(own.rabbitmq.start)
        assert own.broker_url("operator") == url
        assert await topology.missing(url) == []
        connection = await aiormq.connect(url)
        channel = await connection.channel()
        message = await channel.basic_get(topology.QUEUE_REDEMPTION_CHECKOUT, no_ack=True)
        await connection.close()
        assert message.body == b"kept"

    async def test_its_cookie_is_random_and_no_other_opens_it(self, own: Servers) -> None:
        """With the cookie Erlang's own tools run anything in the broker; the one that Erlang creates can be guessed."""
        cookie = own.folder / "rabbitmq" / ".erlang.cookie"
        before = cookie.read_text()
        assert re.fullmatch(r"[0-9a-f]{64}", before)
        assert stat.S_IMODE(cookie.stat().st_mode) == 0o600
        await asyncio.to_thread(own.rabbitmq.start)
        after = cookie.read_text()
        assert after != before
        assert await said_by_node(own, after, PING) == "pong"
        assert await said_by_node(own, before, PING) == "pang"

    async def test_nothing_keeps_it_from_ending_at_once(self, own: Servers) -> None:
        """With its handler of statistics each stop would take five seconds more."""
        cookie = (own.folder / "rabbitmq" / ".erlang.cookie").read_text()
        async with asyncio.timeout(30):
            # It goes as soon as the broker has started, a moment after the first client can connect.
            while "rabbit_mgmt_db_handler" in (handlers := await said_by_node(own, cookie, HANDLERS)):
                pass
        assert "rabbit_connection_tracking_handler" in handlers

    def test_passwords_and_cookie_are_private(self, own: Servers) -> None:
        assert stat.S_IMODE((own.folder / "broker-passwords.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((own.folder / "rabbitmq").stat().st_mode) == 0o700


class TestStacksOnGivenServers:
    """The last of this file, because it fills the servers with everything that a stack creates."""

    @pytest.mark.timeout(240)
    async def test_two_stacks_share_a_server_and_start_nothing_but_their_services(
        self, own: Servers, test_run: Path
    ) -> None:
        """The services' roles belong to the whole server: a second stack must not change their passwords."""
        connection = await asyncpg.connect(own.database_url)
        await connection.execute("CREATE DATABASE second")
        await connection.close()
        first = given_stack(test_run / "first-stack", own, own.database_url)
        second = given_stack(test_run / "second-stack", own, named(own.database_url, "second").admin)
        try:
            assert "code.redeemed" in await asyncio.to_thread(first.up)
            await asyncio.to_thread(second.up, "--no-demo")
            for stack in (first, second):
                assert stack.facts["database_url"] == dict(stack.given)["DATABASE_URL"]
                assert stack.facts["amqp_url"] == own.broker_url("operator")
                assert set(stack.pids()) == {"codes", "redemption", "webhooks", "dashboard", "shop", "receiver"}
            assert not set(first.facts["services"].values()) & set(second.facts["services"].values())
            killed = first.pids()["codes"]
            os.kill(killed, signal.SIGKILL)
            await asyncio.to_thread(wait_until, lambda: first.pids().get("codes", killed) != killed)
            await asyncio.to_thread(wait_until, lambda: is_up_again(first) and is_up_again(second))
        finally:
            for stack in (first, second):
                await asyncio.to_thread(stack.run, "down")
                await asyncio.to_thread(stack.run, "clean")


def given_stack(folder: Path, own: Servers, database_url: str) -> Stack:
    return Stack(folder, (("DATABASE_URL", database_url), ("AMQP_URL", own.broker_url("operator"))))


def is_up_again(stack: Stack) -> bool:
    """Return whether everything but the servers, which are not the stack's, is ready."""
    return {state for name, state in stack.states().items() if name not in {"postgres", "rabbitmq"}} == {"ready"}


async def said_by_node(own: Servers, cookie: str, expression: str) -> str:
    """Evaluate an expression in a node beside the broker's, as Erlang's tools do."""
    environment = own.rabbitmq._environment(0, 0)
    registry = processes.load(own.folder / "rabbitmq" / "epmd.json")
    assert registry is not None
    [(_, port)] = [each for each in listeners(registry.pid) if each[0] == "127.0.0.1"]
    argv = ["erl", "-noshell", "-sname", "asker@localhost", "-setcookie", cookie, "-eval"]
    asking = f'io:format("~p", [{expression}]), halt().'
    process = await asyncio.create_subprocess_exec(
        *argv, asking, env=environment | {"ERL_EPMD_PORT": str(port)}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode()


def broker_pid(own: Servers) -> int:
    record = own.rabbitmq.record
    assert record is not None
    return record.pid


async def publish(url: str, body: bytes) -> None:
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    properties = aiormq.spec.Basic.Properties(delivery_mode=2)
    await channel.basic_publish(body, exchange="checkout", routing_key="checkout.completed", properties=properties)
    await connection.close()
