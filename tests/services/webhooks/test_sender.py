"""One attempt against receivers that misbehave, and against addresses that must not be dialled."""

import asyncio
import gzip
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from yarl import URL

from services.webhooks.domain.addresses import Reach
from services.webhooks.domain.deliveries import MAX_RESPONSE_BYTES, Answer, Outgoing
from services.webhooks.domain.signature import SigningKey
from services.webhooks.sender import client
from services.webhooks.sender import names as names_module
from services.webhooks.sender.client import Sender
from services.webhooks.sender.guard import AddressRefused, vetting_socket_factory
from services.webhooks.sender.names import PER_DOMAIN, Lookup, NameService, look_up
from services.webhooks.sender.urls import CheckedURL, URLChecker
from shared.boundary import INSIDE_TRANSACTION
from shared.clock import utc_now
from tests.services.webhooks.faults import Behave, FaultServer, misbehaving, reset

KEY = b"k" * 32
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def sending(*, lookup: Lookup = look_up, is_development: bool = True) -> AsyncIterator[Sender]:
    names = NameService(lookup)
    urls = URLChecker(names, is_development=is_development)
    try:
        async with Sender(urls, names, utc_now) as sender:
            yield sender
    finally:
        names.close()


async def post(sender: Sender, url: str, *, total_seconds: float = 2.0, **more: Any) -> Answer:
    keys = [SigningKey("hmac", KEY)]
    return await sender.post(Outgoing(url, "msg_1", b'{"a":1}', keys, timeout_seconds=total_seconds, **more))


async def answer_of(server: FaultServer, *, total_seconds: float = 2.0) -> Answer:
    async with sending() as sender:
        return await post(sender, server.url, total_seconds=total_seconds)


def always(raw: bytes) -> Callable[[FaultServer], Behave]:
    """Answer every request on a connection with the same bytes."""

    def behave(server: FaultServer) -> Behave:
        async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await server.read(reader)
                writer.write(raw)
                await writer.drain()

        return act

    return behave


def once(
    act: Callable[[FaultServer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> Callable[[FaultServer], Behave]:
    """Read one request and then do as the test says."""

    def behave(server: FaultServer) -> Behave:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read(reader)
            await act(server, reader, writer)

        return run

    return behave


async def test_the_bytes_go_over_the_wire_as_they_are() -> None:
    async with misbehaving(always(OK)) as server:
        answer = await answer_of(server)
        assert (answer.status, answer.error_code, answer.response) == (200, None, "ok")
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert body == b'{"a":1}'
        names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
        assert len(names) == len(set(names))
        assert {b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"user-agent"} <= set(names)
        assert b"accept-encoding: identity" in head.lower()


async def test_connections_are_kept_and_used_again() -> None:
    async with misbehaving(always(OK)) as server, sending() as sender:
        for _ in range(20):
            assert (await post(sender, server.url)).status == 200
        assert server.connections == 1


async def test_a_kept_connection_that_dies_silently_is_tried_once_more_as_the_same_attempt() -> None:
    def behave(server: FaultServer) -> Behave:
        async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read(reader)
            writer.write(OK)
            await server.read(reader)

        return act

    async with misbehaving(behave) as server, sending() as sender:
        assert (await post(sender, server.url)).status == 200
        assert (await post(sender, server.url)).status == 200
        assert server.connections == 2
        assert len(server.requests) == 3


async def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    async def hang_up(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with misbehaving(once(hang_up)) as server:
        assert (await answer_of(server)).error_code == "connection_lost"
        assert len(server.requests) == 1


async def test_a_reset_is_a_lost_connection() -> None:
    async def rst(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async with misbehaving(once(rst)) as server:
        assert (await answer_of(server)).error_code == "connection_lost"


async def test_a_receiver_that_hangs_costs_the_total_timeout() -> None:
    async def hang(_: FaultServer, __: asyncio.StreamReader, ___: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with misbehaving(once(hang)) as server:
        started = time.monotonic()
        assert (await answer_of(server, total_seconds=0.3)).error_code == "timeout"
        assert time.monotonic() - started < 2


async def test_a_head_that_drips_costs_the_total_timeout() -> None:
    async def drip(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with misbehaving(once(drip)) as server:
        assert (await answer_of(server, total_seconds=0.3)).error_code == "timeout"


async def test_a_body_that_drips_does_not_undo_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BODY_SECONDS", 0.2)

    async def drip(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbeginning")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with misbehaving(once(drip)) as server:
        started = time.monotonic()
        answer = await answer_of(server)
        assert answer.status == 200
        assert (answer.response or "").startswith("beginning")
        assert time.monotonic() - started < 1.5


async def test_of_a_huge_body_only_the_beginning_is_read() -> None:
    async def pour(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 10000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with misbehaving(once(pour)) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = await answer_of(server)
        assert answer.status == 500
        assert len(answer.response or "") == MAX_RESPONSE_BYTES
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\x00" * 50_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with misbehaving(always(head + bomb)) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = await answer_of(server)
        assert answer.status == 200
        assert len(answer.response or "") <= MAX_RESPONSE_BYTES
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 65536 + b"\r\n\r\n",
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_an_invalid_answer(raw: bytes) -> None:
    async with misbehaving(always(raw)) as server:
        answer = await answer_of(server)
        assert (answer.status, answer.error_code) == (None, "invalid_answer")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", 302),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", 410),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\xff\x00bytes", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + OK, 200),
    ],
)
async def test_any_status_is_taken_as_it_is(raw: bytes, status: int) -> None:
    async def say(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    async with misbehaving(once(say)) as server:
        answer = await answer_of(server)
        assert (answer.status, answer.error_code) == (status, None)
        assert "\x00" not in (answer.response or "")


async def test_retry_after_is_handed_on() -> None:
    raw = b"HTTP/1.1 429 Slow down\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"
    async with misbehaving(always(raw)) as server:
        assert (await answer_of(server)).retry_after == "120"


async def test_a_refused_connection_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/hook"
        async with sending() as sender:
            assert (await post(sender, url)).error_code == "connect_failed"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with misbehaving(always(OK)) as server:
        assert (await answer_of(server)).status == 200


async def test_passwords_and_cookies_of_others_are_not_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("default login root password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    raw = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with misbehaving(always(raw)) as server, sending() as sender:
        for _ in range(2):
            await post(sender, server.url)
        assert len(server.requests) == 2
        for request in server.requests:
            assert b"cookie" not in request.lower()
            assert b"authorization" not in request.lower()


async def test_nothing_is_sent_inside_a_transaction() -> None:
    async with sending() as sender:
        token = INSIDE_TRANSACTION.set(True)
        try:
            with pytest.raises(RuntimeError):
                await post(sender, "https://example.com/")
        finally:
            INSIDE_TRANSACTION.reset(token)


@pytest.mark.parametrize(
    "answers",
    [
        [(socket.AF_INET, "127.0.0.1")],
        [(socket.AF_INET, "169.254.169.254")],
        [(socket.AF_INET, "93.184.216.34"), (socket.AF_INET, "10.0.0.1")],
        [(socket.AF_INET, "10.0.0.1"), (socket.AF_INET, "93.184.216.34")],
        [(socket.AF_INET6, "::ffff:127.0.0.1")],
        [(socket.AF_INET6, "fe80::1%lo")],
        [(socket.AF_INET6, "fd00::1")],
        [],
    ],
)
async def test_a_name_is_refused_as_a_whole_if_any_answer_leads_inside(answers: Sequence[tuple[int, str]]) -> None:
    async with sending(lookup=lambda _: answers) as sender:
        answer = await post(sender, "https://hooks.example.com/")
        assert (answer.status, answer.error_code) == (None, "blocked_address")


async def test_a_name_that_does_not_resolve_reads_like_a_refused_one() -> None:
    def lookup(_: str) -> Sequence[tuple[int, str]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async with sending(lookup=lookup) as sender:
        assert (await post(sender, "https://hooks.example.com/")).error_code == "blocked_address"


async def test_a_name_that_changes_its_mind_is_refused_at_the_second_dial() -> None:
    """A name server that answers publicly while the URL is vetted and privately when it is dialled."""
    turns = [[(socket.AF_INET, "93.184.216.34")], [(socket.AF_INET, "127.0.0.1")]]
    names = NameService(lambda _: turns.pop(0))
    urls = URLChecker(names, is_development=True)
    try:
        await urls.vet("https://hooks.example.com/")
        async with Sender(urls, names, utc_now) as sender:
            assert (await post(sender, "https://hooks.example.com/")).error_code == "blocked_address"
    finally:
        names.close()
    assert turns == []


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://0x7f000001/",
        "http://example.com/",
        "http://10.0.0.1:8000/",
    ],
)
async def test_urls_that_were_registered_under_other_rules_are_not_dialled(url: str) -> None:
    async with sending() as sender:
        assert (await post(sender, url)).error_code == "blocked_address"


async def test_production_does_not_dial_loopback() -> None:
    async with misbehaving(always(OK)) as server, sending(is_development=False) as sender:
        assert (await post(sender, server.url)).error_code == "blocked_address"
        assert server.connections == 0


@pytest.mark.parametrize("reach", ["public", "loopback"])
async def test_the_socket_factory_is_the_last_line(reach: Reach) -> None:
    """Even if a URL or a resolver let an address through, no socket is opened for it."""
    open_socket = vetting_socket_factory(reach)
    for family, address in ((socket.AF_INET, "10.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")):
        with pytest.raises(AddressRefused):
            open_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443)))


async def test_slow_name_servers_do_not_hold_up_other_names() -> None:
    release = threading.Event()

    def lookup(name: str) -> Sequence[tuple[int, str]]:
        if name.startswith("slow"):
            release.wait(10)
        return [(socket.AF_INET, "10.0.0.1")]

    async with sending(lookup=lookup) as sender:
        slow = [asyncio.create_task(post(sender, f"https://slow{n % 10}.example.com/")) for n in range(60)]
        await asyncio.sleep(0)
        answer = await asyncio.wait_for(post(sender, "https://quick.example.com/"), 1)
        assert answer.error_code == "blocked_address"
        release.set()
        assert {(await each).error_code for each in slow} == {"blocked_address"}


@asynccontextmanager
async def measured_memory() -> AsyncIterator[None]:
    """Hold what happens inside against the bound on memory that is set for all hostile receivers together."""
    process = psutil.Process()
    before = most = process.memory_info().rss
    done = asyncio.Event()

    async def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    yield
    done.set()
    await watching
    assert most - before < 20 * 1024 * 1024


def pour(head: bytes, more: bytes) -> Callable[[FaultServer], Behave]:
    """Answer with a beginning and then without end."""

    async def act(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(more)
            await writer.drain()

    return once(act)


@pytest.mark.parametrize(
    ("head", "more", "status", "error_code"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, None, "invalid_answer"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 500, None, "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\nX-Endless: ", b"a" * 65536, None, "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n" * 5000, None, "invalid_answer"),
        (b"", b"\r\n" * 30_000, None, "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"b" * 65536 + b"\r\n", 200, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nb\r\n" * 5000, 200, None),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"c" * 65536, 200, None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"d" * 65536, 204, None),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"e" * 65536, 101, None),
    ],
)
async def test_an_endless_answer_ends_early_and_takes_no_memory(
    head: bytes, more: bytes, status: int | None, error_code: str | None
) -> None:
    async with misbehaving(pour(head, more)) as server, sending() as sender, measured_memory():
        for _ in range(3):
            answer = await post(sender, server.url, total_seconds=20)
            assert (answer.status, answer.error_code) == (status, error_code)
            assert len(answer.response or "") <= MAX_RESPONSE_BYTES


async def test_many_hostile_receivers_at_once_take_no_memory() -> None:
    bomb = gzip.compress(b"\x00" * 20_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    behaviours = [
        pour(b"HTTP/1.1 200 OK\r\n\r\n", b"c" * 65536),
        pour(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"a" * 65536),
        pour(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        always(head + bomb),
    ]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(misbehaving(each)) for each in behaviours]
        sender = await stack.enter_async_context(sending())
        await stack.enter_async_context(measured_memory())
        answers = await asyncio.gather(*(post(sender, servers[n % 4].url, total_seconds=20) for n in range(40)))
        assert {answer.error_code for answer in answers} == {None, "invalid_answer"}


async def test_after_a_hostile_answer_the_next_one_has_a_connection_of_its_own() -> None:
    behaved = [pour(b"HTTP/1.1 200 OK\r\n\r\n", b"c" * 65536), always(OK)]

    def behave(server: FaultServer) -> Behave:
        async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await behaved[min(server.connections, 2) - 1](server)(reader, writer)

        return act

    async with misbehaving(behave) as server, sending() as sender:
        assert (await post(sender, server.url)).status == 200
        assert (await post(sender, server.url)).response == "ok"
        assert (await post(sender, server.url)).response == "ok"
        assert server.connections == 2


async def test_half_a_head_and_then_the_end_is_a_lost_connection() -> None:
    async def half(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        await writer.drain()
        writer.close()

    async with misbehaving(once(half)) as server:
        assert (await answer_of(server)).error_code == "connection_lost"


async def test_half_a_body_and_then_the_end_does_not_undo_the_status() -> None:
    async def half(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with misbehaving(once(half)) as server:
        answer = await answer_of(server)
        assert (answer.status, answer.response) == (200, "half")


async def test_an_answer_before_the_body_was_read_is_an_answer() -> None:
    def behave(server: FaultServer) -> Behave:
        async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        return act

    async with misbehaving(behave) as server:
        assert (await answer_of(server)).status == 413


async def test_a_tls_handshake_that_stalls_costs_the_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is let through for once; nothing is ever answered to the handshake."""
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.2)
    client._timeout.cache_clear()

    def behave(_: FaultServer) -> Behave:
        async def act(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        return act

    async with misbehaving(behave) as server, sending() as sender:
        url = server.url.replace("http://", "https://")
        monkeypatch.setitem(sender._urls._checked, url, CheckedURL(URL(url), "loopback"))
        answer = await post(sender, url, total_seconds=19)
        assert answer.error_code == "connect_timeout"
        assert answer.connect_ms is not None
        assert (answer.tls_ms, answer.ttfb_ms) == (None, None)
    client._timeout.cache_clear()


async def test_an_attempt_says_where_its_time_went_and_shows_no_secret() -> None:
    async with misbehaving(always(OK)) as server, sending() as sender:
        more: dict[str, Any] = {
            "headers": {"X-Tenant": "acme", "Authorization": "Bearer open sesame"},
            "secret_headers": ("Authorization",),
            "sequence": 7,
        }
        first = await post(sender, server.url, **more)
        again = await post(sender, server.url, **more)
        assert first.remote_ip == again.remote_ip == "127.0.0.1"
        assert first.connect_ms is not None
        assert first.ttfb_ms is not None
        assert again.connect_ms is None
        assert first.request_headers is not None
        assert {name.lower(): value for name, value in first.request_headers.items()} == {
            "user-agent": "Mintwire-Webhooks/1.0",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "x-tenant": "acme",
            "authorization": "***",
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(first.started_at.timestamp())),
            "webhook-signature": "v1,***",
            "webhook-sequence": "7",
        }
        assert b"Bearer open sesame" in server.requests[0]
        assert first.response_headers == {"Content-Length": "2"}


async def test_headers_of_an_answer_can_be_stored_whatever_they_hold() -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: session=1\r\nX-Odd: \xff\xfe\r\n"
        b"X-Long: " + b"l" * 5000 + b"\r\n\r\n"
    )
    async with misbehaving(always(raw)) as server:
        kept = (await answer_of(server)).response_headers or {}
    assert kept["Set-Cookie"] == "***"
    assert len(kept["X-Long"]) == 500
    kept["X-Odd"].encode()


@pytest.mark.parametrize("suffix", ["example", "co.uk"])
async def test_one_domain_takes_only_so_many_threads(suffix: str) -> None:
    """Whoever runs a domain runs its name server; the names of others do not wait for it."""
    release = threading.Event()
    under_way = most = 0
    lock = threading.Lock()

    def lookup(name: str) -> Sequence[tuple[int, str]]:
        nonlocal under_way, most
        if not name.endswith(f"tarpit.{suffix}"):
            return [(socket.AF_INET, "10.0.0.1")]
        with lock:
            under_way += 1
            most = max(most, under_way)
        release.wait(10)
        with lock:
            under_way -= 1
        return [(socket.AF_INET, "10.0.0.1")]

    names = NameService(lookup)
    try:
        slow = [asyncio.create_task(names.addresses(f"n{n}.tarpit.{suffix}")) for n in range(200)]
        while under_way < PER_DOMAIN:  # noqa: ASYNC110 - threads have no event of the loop's to wait on
            await asyncio.sleep(0.01)
        assert await names.addresses(f"quick.{suffix}") == [(socket.AF_INET, "10.0.0.1")]
        release.set()
        assert len(await asyncio.gather(*slow)) == 200
        assert most == PER_DOMAIN
    finally:
        release.set()
        names.close()


async def test_a_name_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "DNS_SECONDS", 0.1)
    release = threading.Event()

    def lookup(_: str) -> Sequence[tuple[int, str]]:
        release.wait(10)
        return []

    try:
        async with sending(lookup=lookup) as sender:
            answer = await post(sender, "https://hooks.example.com/", total_seconds=20)
            assert (answer.error_code, answer.dns_ms) == ("blocked_address", None)
            release.set()
    finally:
        release.set()
