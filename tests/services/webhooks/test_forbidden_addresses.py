"""Every way to write an internal address, at every entry point: create, change, test, deliver."""

import socket
from collections.abc import Sequence

import pytest

from services.webhooks.domain.addresses import REFUSED
from services.webhooks.domain.deliveries import Outgoing
from services.webhooks.sender.client import Sender
from services.webhooks.sender.names import NameService
from services.webhooks.sender.urls import URLChecker
from shared.clock import utc_now
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, until
from tests.services.webhooks.faults import misbehaving
from tests.services.webhooks.sending import OK, always

ADDRESSES = [
    # IPv4 in its usual form: this network, private, shared, loopback, link-local and metadata, assignments,
    # documentation, relays, benchmarks, multicast, reserved, broadcast, a cloud's platform.
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.1.2.3", "169.254.169.254"),  # noqa: S104 - refused, not bound
    *("169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1"),
    *("192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("168.63.129.16", "192.31.196.1", "192.52.193.1", "192.175.48.1"),
    # In forms that some resolvers read as addresses: short, decimal, octal, hexadecimal, with a dot at the end, in
    # other scripts.
    *(
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0x7f000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "127.0.0.1.",
    ),
    *("3232235521", "0xc0a80001", "1.2.3.0x4", "①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "127.0.0.1%00.example.com"),
    # IPv6: unspecified, loopback, mapped, compatible, translated, NAT64, 6to4, Teredo, local, site-local, link-local
    # with and without a zone, metadata, multicast, discard, documentation, tunnels' interface identifiers.
    *("[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:169.254.169.254]"),
    *("[::127.0.0.1]", "[::7f00:1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]"),
    *("[64:ff9b:1::a00:1]", "[2002:7f00:1::1]", "[2002:a9fe:a9fe::]", "[2001:0:7f00:1::]", "[2001:db8::1]"),
    *(
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[ff02::1]",
        "[100::1]",
        "[5f00::1]",
    ),
    *("[3fff::1]", "[2606:4700::5efe:127.0.0.1]", "[::ffff:0x7f.1]", "[::1", "[v1.fe80::1]"),
    # Names that never leave a network.
    *(
        "localhost",
        "localhost.",
        "LOCALHOST",
        "a.localhost",
        "printer.local",
        "db.internal",
        "metadata.google.internal",
    ),
    *("intranet", "a.svc", "x.home.arpa", "a.lan", "a.corp", "a.onion", "a.test", "a.invalid"),
]
URLS = [f"https://{address}/hook" for address in ADDRESSES] + [
    *("https://user@10.0.0.1/", "https://example.com@10.0.0.1/", "https://10.0.0.1#@example.com/"),
    *("https://10.0.0.1\\@example.com/", "https:10.0.0.1", "https:///10.0.0.1/", "//10.0.0.1/", "http://10.0.0.1/"),
    *("https://example.com:22/", "https://example.com:25/", "https://example.com:6379/", "https://example.com:0/"),
    *(
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://example.com /",
        "https://exa\tmple.com",
    ),
]


def test_there_are_enough_of_them() -> None:
    assert len(set(ADDRESSES)) >= 60


async def test_none_can_be_registered_or_moved_to_and_all_refusals_of_hosts_read_alike(
    service: Service, merchant: Merchant, receiver: object
) -> None:
    """Any difference between refusals would tell what exists inside the network."""
    good = await service.endpoint(merchant.partner_key, "https://hooks.example.com/")
    texts: dict[str, set[str]] = {}
    for url in URLS:
        made = await service.send("POST", "/endpoints", merchant.partner_key, {"url": url})
        moved = await service.send("PATCH", f"/endpoints/{good['id']}", merchant.partner_key, {"url": url})
        for answer in (made, moved):
            assert answer.status == 422, url
            texts.setdefault(url, set()).update(answer.body["errors"]["url"])
    assert len((await service.send("GET", "/endpoints", merchant.partner_key)).data) == 1
    assert all(len(said) == 1 for said in texts.values())
    well_formed = {url for url in URLS if url.startswith(("https://10.", "https://[f"))}
    said = set().union(*(texts[url] for url in well_formed if "@" not in url and "#" not in url and "\\" not in url))
    assert said == {f"The url field {REFUSED}."}


async def test_none_is_dialled_by_a_test_or_a_delivery_though_it_stands_in_the_table(
    service: Service, merchant: Merchant
) -> None:
    """As after a change of the rules, or a manual change of the table."""
    endpoints = [await service.endpoint(merchant.program_key, f"https://h{n}.example.com/") for n in range(len(URLS))]
    for endpoint, url in zip(endpoints, URLS, strict=True):
        await service.query(
            "UPDATE webhooks.endpoints SET url = $2, version = version + 1 WHERE id = $1::text::uuid",
            endpoint["id"],
            url,
        )
    for endpoint in endpoints:
        tested = await service.send("POST", f"/endpoints/{endpoint['id']}/test", merchant.program_key)
        said = {name: tested.data[name] for name in ("outcome", "status", "error_code", "error", "response")}
        assert said == {
            "outcome": "failed",
            "status": None,
            "error_code": "blocked_address",
            "error": REFUSED,
            "response": None,
        }
    await service.consume(code_redeemed(merchant))
    await service.attempted(2 * len(URLS))
    rows = await service.query(
        "SELECT DISTINCT status, error_code, response, remote_ip, dns_ms, connect_ms, tls_ms FROM webhooks.attempts"
    )
    assert [tuple(row.values()) for row in rows] == [(None, "blocked_address", None, None, None, None, None)]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address for which a socket is opened."""
    opened: list[str] = []
    connect = socket.socket.connect

    def note(self: socket.socket, address: object) -> None:
        opened.append(str(address))
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", note)
    return opened


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_name_server_that_changes_its_answers_gains_nothing(turns: int, dialled: list[str]) -> None:
    """Public when the URL is checked and at some dials, then internal; also both in one answer."""
    answers: list[Sequence[tuple[int, str]]] = [[(socket.AF_INET, "93.184.216.34")]] * turns
    inside: Sequence[tuple[int, str]] = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "93.184.216.34")]
    asked = []

    def lookup(name: str) -> Sequence[tuple[int, str]]:
        asked.append(name)
        return answers.pop(0) if answers else inside

    names = NameService(lookup)
    urls = URLChecker(names, is_development=True)
    try:
        async with misbehaving(always(OK)) as server, Sender(urls, names, utc_now) as sender:
            port = server.url.rpartition(":")[2].partition("/")[0]
            await urls.vet("https://hooks.example.com/")
            answers.clear()
            for _ in range(turns):
                outgoing = Outgoing(
                    url=f"https://hooks.example.com:8443/{port}",
                    message_name="msg_1",
                    body=b"{}",
                    keys=[],
                    timeout_seconds=2,
                )
                answer = await sender.post(outgoing)
                assert (answer.status, answer.error_code) == (None, "blocked_address")
            assert server.connections == 0
    finally:
        names.close()
    assert len(asked) == 1 + turns
    assert dialled == []


async def test_a_redirect_inside_is_a_failure_and_not_followed(
    service: Service, merchant: Merchant, receiver: object
) -> None:
    """A public receiver could redirect the signed request to an internal address."""
    raw = b"HTTP/1.1 307 Temporary\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n"
    async with misbehaving(always(raw)) as server:
        await service.endpoint(merchant.partner_key, server.url)
        await service.consume(code_redeemed(merchant))
        await service.attempted(1)
        await until(lambda: len(server.requests) == 1)
    rows = await service.query("SELECT status, remote_ip FROM webhooks.attempts")
    assert [(row["status"], row["remote_ip"]) for row in rows] == [(307, "127.0.0.1")]
