"""One attempt at receivers that fail, and at addresses that must not be dialled."""

import asyncio
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from services.webhooks.domain.addresses import Reach
from services.webhooks.sender import client
from services.webhooks.sender.client import Sender
from services.webhooks.sender.guard import AddressRefused, vetting_socket_factory
from services.webhooks.sender.names import NameService
from services.webhooks.sender.urls import CheckedURL, URLChecker
from shared.boundary import INSIDE_TRANSACTION
from shared.clock import utc_now
from tests.services.webhooks.faults import Behave, FaultServer, misbehaving, reset
from tests.services.webhooks.sending import OK, always, answer_of, once, post, sending


async def test_the_bytes_go_over_the_wire_as_they_are() -> None:
    """A body that is encoded again differs from the signed one, and no receiver could verify it."""
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
    """Every receiver that closes idle connections would fail the first webhook after a pause."""

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
    """The receiver may have processed the request: sending it twice must be left to the schedule."""

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
    """Without a total timeout a receiver could hold a slot for ever."""

    async def hang(_: FaultServer, __: asyncio.StreamReader, ___: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with misbehaving(once(hang)) as server:
        started = time.monotonic()
        assert (await answer_of(server, total_seconds=0.3)).error_code == "timeout"
        assert time.monotonic() - started < 10


async def test_a_head_that_drips_costs_the_total_timeout() -> None:
    """A timeout per read never expires if a byte arrives every second."""

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
        assert time.monotonic() - started < 10


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
    """A proxy would dial addresses that were never checked."""
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with misbehaving(always(OK)) as server:
        assert (await answer_of(server)).status == 200


async def test_passwords_and_cookies_of_others_are_not_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One receiver's cookies, or credentials from a netrc file, would reach another."""
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
    """A slow receiver would hold database locks and connections."""
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
    """The client would fall back from the public address to the internal one."""
    async with sending(lookup=lambda _: answers) as sender:
        answer = await post(sender, "https://hooks.example.com/")
        assert (answer.status, answer.error_code) == (None, "blocked_address")


async def test_a_name_that_does_not_resolve_reads_like_a_refused_one() -> None:
    """Different errors would let a tenant map the internal network."""

    def lookup(_: str) -> Sequence[tuple[int, str]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async with sending(lookup=lookup) as sender:
        assert (await post(sender, "https://hooks.example.com/")).error_code == "blocked_address"


async def test_a_name_that_changes_its_mind_is_refused_at_the_second_dial() -> None:
    """A name server that answers publicly when the URL is checked and privately when it is dialled."""
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
    """Stricter rules would not apply to existing endpoints."""
    async with sending() as sender:
        assert (await post(sender, url)).error_code == "blocked_address"


async def test_production_does_not_dial_loopback() -> None:
    """A tenant could send requests to services on this machine."""
    async with misbehaving(always(OK)) as server, sending(is_development=False) as sender:
        assert (await post(sender, server.url)).error_code == "blocked_address"
        assert server.connections == 0


@pytest.mark.parametrize("reach", ["public", "loopback"])
async def test_the_socket_factory_is_the_last_line(reach: Reach) -> None:
    """Even if a URL or a resolver allowed an address, no socket is opened for it."""
    open_socket = vetting_socket_factory(reach)
    for family, address in ((socket.AF_INET, "10.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")):
        with pytest.raises(AddressRefused):
            open_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443)))


async def test_a_tls_handshake_that_stalls_costs_the_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is allowed for once; nothing ever answers the handshake."""
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.2)
    client.timeout_of.cache_clear()

    def behave(_: FaultServer) -> Behave:
        async def act(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        return act

    async with misbehaving(behave) as server, sending() as sender:
        url = server.url.replace("http://", "https://")
        monkeypatch.setitem(sender.urls.checked, url, CheckedURL(URL(url), "127.0.0.1", "loopback"))
        answer = await post(sender, url, total_seconds=19)
        assert answer.error_code == "connect_timeout"
        assert answer.connect_ms is not None
        assert (answer.tls_ms, answer.ttfb_ms) == (None, None)
    client.timeout_of.cache_clear()


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
    """One invalid byte would keep the result, and the whole group with it, from being written."""
    raw = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: session=1\r\nX-Odd: \xff\xfe\r\n"
        b"X-Long: " + b"l" * 5000 + b"\r\n\r\n"
    )
    async with misbehaving(always(raw)) as server:
        kept = (await answer_of(server)).response_headers or {}
    assert kept["Set-Cookie"] == "***"
    assert len(kept["X-Long"]) == 500
    kept["X-Odd"].encode()
