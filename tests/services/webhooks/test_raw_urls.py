"""Each URL is requested byte for byte as registered: receivers sign it, route by it, and log it."""

import asyncio
from typing import Any

import aiohttp
import pytest

from mintwire.cli.listening import forward
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, until
from tests.services.webhooks.faults import Behave, FaultServer, misbehaving
from tests.services.webhooks.sending import always, post, sending

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
# The part after the host: encoded and not, in either case, with dots, empty parts and characters that URLs do not
# allow.
FORMS = [
    *("/", "/hook", "/hook/", "/hook//", "//hook", "//a//b", "/a/./b", "/./", "/.", "/..", "/a/../b", "/../../etc"),
    *("/a/%2e%2e/b", "/%2E", "/...", "/%2F", "/%2f", "/a%2Fb%2fc", "/%41", "/%61%7e", "/~user", "/%7Euser", "/%20"),
    *("/+", "/%2B", "/a%", "/%zz", "/%%", "/%25", "/%2525", "/%C3%BC", "/%c3%bc", "/%ff", "/%00", "/%0d%0aX:%20y"),
    *(
        "/[1]",
        "/a[b]c",
        "/{id}",
        "/a|b",
        "/a^b",
        "/`",
        "/<a>",
        '/"q"',
        "/'q'",
        "/a;b=c;d",
        "/a:b@c",
        "/a,b",
        "/!$&*()",
    ),
    *("/hook?", "/hook??", "/?", "?", "?x=1", "/hook?a=1&a=2&", "/hook?&&=&", "/hook?b=2&a=1", "/hook?a[]=1&a[1]=2"),
    *("/hook?q=a+b%20c", "/hook?u=https://x.example/%2F?y", "/hook?a=%41%2f%zz&%", "/hook?/../..", "/hook?x=1?y=2?"),
    *("/hook?token=aGk=", "/hook?{}|^", "/" + "a/" * 500),
]


def sent(request: bytes) -> str:
    """Return the target of a request as received, always with a path: HTTP requires one."""
    method, target, version = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    assert (method, version) == ("POST", "HTTP/1.1")
    return target


def expected(form: str) -> str:
    return form if form.startswith("/") else f"/{form}"


def base_of(server: FaultServer) -> str:
    return server.url.removesuffix("/hook")


def test_there_are_sixty_forms_and_the_client_would_rewrite_many() -> None:
    assert len(set(FORMS)) == len(FORMS) >= 60


async def test_the_sender_writes_each_form_as_it_stands() -> None:
    async with misbehaving(always(OK)) as server, sending() as sender:
        for form in FORMS:
            answer = await post(sender, base_of(server) + form)
            assert (answer.status, answer.error_code) == (200, None), form
        assert [sent(request) for request in server.requests] == [expected(form) for form in FORMS]


async def test_each_form_is_kept_shown_and_delivered_as_it_was_registered(service: Service, merchant: Merchant) -> None:
    """By event, test and retry; and a changed URL is as exact as the first one."""
    async with misbehaving(always(OK)) as server:
        base, key = base_of(server), merchant.partner_key
        endpoints = [await service.endpoint(key, base + form) for form in FORMS]
        assert [each["url"] for each in endpoints] == [base + form for form in FORMS]
        listed = await service.send("GET", f"/endpoints?limit={len(FORMS)}", key)
        assert sorted(each["url"] for each in listed.data) == sorted(base + form for form in FORMS)
        await service.consume(code_redeemed(merchant))
        await service.settled(len(FORMS))
        assert sorted(map(sent, server.requests)) == sorted(map(expected, FORMS))
        for form, endpoint in list(zip(FORMS, endpoints, strict=True))[::12]:
            await _again(service, server, key, endpoint, form)


async def _again(service: Service, server: FaultServer, key: str, endpoint: Any, form: str) -> None:
    server.requests.clear()
    path = f"/endpoints/{endpoint['id']}"
    assert (await service.send("POST", f"{path}/test", key)).data["status"] == 200
    [delivery] = (await service.send("GET", f"/deliveries?endpoint_id={endpoint['id']}&status=succeeded", key)).data[:1]
    assert (await service.send("POST", f"/deliveries/{delivery['id']}/retry", key)).data["status"] == 200
    other = f"{endpoint['url']}%2Fx" if "?" not in form else f"{endpoint['url']}&%2Fx?"
    changed = await service.send("PATCH", path, key, {"url": other})
    assert changed.data["url"] == (await service.send("GET", path, key)).data["url"] == other
    assert (await service.send("POST", f"{path}/test", key)).data["status"] == 200
    suffix = other.removeprefix(endpoint["url"])
    assert [sent(each) for each in server.requests] == [expected(form)] * 2 + [expected(form) + suffix]


async def test_a_replay_and_a_retry_go_to_the_same_bytes(service: Service, merchant: Merchant) -> None:
    answers = iter([b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", OK, OK])

    def behave(server: FaultServer) -> Behave:
        async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await server.read(reader)
                writer.write(next(answers))

        return act

    async with misbehaving(behave) as server:
        form = "/a/../%41%2F[1]?"
        endpoint = await service.endpoint(merchant.partner_key, base_of(server) + form)
        await service.consume(code_redeemed(merchant))
        await service.attempted(1)
        service.clock.advance(seconds=7)
        await service.settled(1)
        made = {
            "endpoint_id": endpoint["id"],
            "which": "all",
            "since": service.clock.now.replace(year=2020).isoformat(),
        }
        assert (await service.send("POST", "/replays", merchant.partner_key, made)).status == 202
        await until(lambda: len(server.requests) == 3, "the replay")
        assert [sent(each) for each in server.requests] == [form] * 3


async def test_a_redirect_to_another_form_is_not_followed() -> None:
    """The receiver verifies the URL that it registered, not the one it redirects to."""
    raw = b"HTTP/1.1 308 Moved\r\nLocation: /hook\r\nContent-Length: 0\r\n\r\n"
    async with misbehaving(always(raw)) as server, sending() as sender:
        answer = await post(sender, base_of(server) + "/hook%2F?")
        assert (answer.status, [sent(each) for each in server.requests]) == (308, ["/hook%2F?"])


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("http://LocalHost:{}/", "LocalHost:{}"),
        ("http://127.0.0.1:{}?", "127.0.0.1:{}"),
        ("HTTP://localhost:{}", "localhost:{}"),
    ],
)
async def test_the_host_is_sent_as_it_was_registered(written: str, host: str) -> None:
    async with misbehaving(always(OK)) as server, sending() as sender:
        port = base_of(server).rpartition(":")[2]
        assert (await post(sender, written.format(port))).status == 200
        lines = server.requests[0].split(b"\r\n")
        assert [line for line in lines if line.lower().startswith(b"host:")] == [f"Host: {host.format(port)}".encode()]


@pytest.mark.parametrize("form", ["/ü", "/hook?name=Zoë", "/%C3%BC/ü", "/\u3000"])
async def test_what_http_cannot_carry_as_it_is_written_is_refused(
    service: Service, merchant: Merchant, form: str
) -> None:
    refused = await service.send("POST", "/endpoints", merchant.partner_key, {"url": f"https://example.com{form}"})
    assert (refused.status, list(refused.body["errors"])) == (422, ["url"])
    assert "percent-encoded" in refused.body["errors"]["url"][0]
    # A URL registered earlier is sent to as before.
    async with misbehaving(always(OK)) as server, sending() as sender:
        assert (await post(sender, f"{base_of(server)}/ü?Zoë")).status == 200
        assert sent(server.requests[0]) == "/%C3%BC?Zo%C3%AB"


@pytest.mark.parametrize(
    "form", ["/a\r\nX-Evil: 1", "/a HTTP/1.1", "/a\tb", "/a\nb", "/a\x00", "/a\x7f", "/\\evil", "/a#b"]
)
async def test_no_url_writes_a_header_or_a_second_request(service: Service, merchant: Merchant, form: str) -> None:
    """The URL is sent unencoded, so it must not contain a line end."""
    async with misbehaving(always(OK)) as server, sending() as sender:
        url = base_of(server) + form
        refused = await service.send("POST", "/endpoints", merchant.partner_key, {"url": url})
        # A NUL is refused anywhere in a request.
        assert refused.status == 422, refused.body
        assert (await post(sender, url)).error_code == "blocked_address"
        assert server.requests == []


async def test_the_listener_forwards_to_each_form_as_it_stands() -> None:
    handed = {"body": "{}", "headers": {"webhook-id": "msg_1"}}
    async with misbehaving(always(OK)) as server, aiohttp.ClientSession() as session:
        for form in FORMS:
            url = base_of(server) + form
            result = await forward(handed, url, session)
            assert result["status"] == 200, form
        assert [sent(request) for request in server.requests] == [expected(form) for form in FORMS]
