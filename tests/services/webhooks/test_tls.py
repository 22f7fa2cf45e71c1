"""Mutual TLS: receivers that ask for a client certificate get it; a private authority is trusted per endpoint."""

import asyncio
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientOSError, web

from services.webhooks.domain.certificates import TLSTerms
from services.webhooks.sender.certificates import make_context
from services.webhooks.sender.client import classify
from services.webhooks.store import sealed
from services.webhooks.usecases.warn_of_certificates import WarnOfCertificates
from shared.metrics import WEBHOOK_CERTIFICATES
from tests.databases import Database
from tests.services.webhooks.certificates import Issued, issue
from tests.services.webhooks.conftest import (
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    look_after_endpoints,
    make_merchant,
    running_service,
    value,
)
from tests.services.webhooks.receiver import Receiver
from tests.services.webhooks.test_maintenance import maintenance_of

# A receiver reports it after the handshake, and closes; what is written then may hide its message.
REFUSED = ("tls_failed", "connection_lost")
HOST = "shop.example.com"
AUTHORITY = issue("Shop CA", is_authority=True)
CLIENT = issue("mintwire at shop", AUTHORITY)
SERVER = issue(HOST, AUTHORITY)


def server_context(*, wants: Issued | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(SERVER.pem + SERVER.key_pem)
        file.flush()
        context.load_cert_chain(file.name)
    if wants is not None:
        context.load_verify_locations(cadata=wants.pem)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@dataclass
class SecureReceiver(Receiver):
    """A receiver that records client certificates."""

    peers: tuple[Any, ...] = ()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.peers += (request.transport.get_extra_info("peercert"),)
        return await super().serve(request)


@asynccontextmanager
async def secure_receiver(*, wants: Issued | None = AUTHORITY) -> AsyncIterator[SecureReceiver]:
    """Serve TLS on a loopback port; with `wants`, only to clients with a certificate of that authority."""
    receiver = SecureReceiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(wants=wants))
        await site.start()
        receiver.url = f"https://{HOST}:{site.port}/hook"
        yield receiver
    finally:
        await runner.cleanup()


def look_up_here(_: str) -> Sequence[tuple[int, str]]:
    return [(socket.AF_INET, "127.0.0.1")]


@pytest.fixture
async def service(database: Database, clock: HeldClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """A service for which a public name leads to this machine, on any port."""
    monkeypatch.setattr("services.webhooks.domain.addresses.HTTPS_PORTS", range(1, 65536))
    for module in ("guard", "urls"):
        monkeypatch.setattr(f"services.webhooks.sender.{module}.is_dialable", lambda *_: True)
    async with running_service(database, clock, lookup=look_up_here) as made:
        yield made


async def tried(service: Service, merchant: Merchant, endpoint: Any) -> Any:
    return (await service.send("POST", f"/endpoints/{endpoint['id']}/test", merchant.partner_key)).data


async def test_a_receiver_that_wants_a_certificate_gets_it(service: Service, merchant: Merchant) -> None:
    key = merchant.partner_key
    async with secure_receiver() as receiver:
        endpoint = await service.endpoint(key, receiver.url)
        path = f"/endpoints/{endpoint['id']}"
        failed = await tried(service, merchant, endpoint)
        # Its authority is unknown.
        assert (failed["error_code"], failed["advice"]["code"]) == ("tls_failed", "check_certificate")
        changed = await service.send("PATCH", path, key, {"ca_bundle": AUTHORITY.pem})
        assert [each["subject"] for each in changed.data["ca_bundle"]] == ["CN=Shop CA"]
        # It is trusted now, but it does not know our certificate.
        assert (await tried(service, merchant, endpoint))["error_code"] in REFUSED
        changed = await service.send("PATCH", path, key, {"client_certificate": CLIENT.pair})
        assert changed.status == 200, changed.body
        shown = changed.data["client_certificate"]
        assert (shown["subject"], shown["issuer"]) == ("CN=mintwire at shop", "CN=Shop CA")
        assert shown["expires_at"].startswith(f"{CLIENT.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%S}")
        assert (await tried(service, merchant, endpoint))["outcome"] == "succeeded"
        await service.consume(code_redeemed(merchant))
        await service.settled(2)
        for peer in receiver.peers:
            assert (("commonName", "mintwire at shop"),) in peer["subject"]
        assert len(receiver.peers) == 2
        # One connection carries both.
        assert len(receiver.connections) == 1
        taken = await service.send("PATCH", path, key, {"client_certificate": None})
        assert taken.data["client_certificate"] is None
        assert (await tried(service, merchant, endpoint))["error_code"] in REFUSED


async def test_each_endpoint_has_its_own_way_to_the_same_receiver(service: Service, merchant: Merchant) -> None:
    """A reused connection of one endpoint must not carry another's deliveries."""
    key, other = merchant.partner_key, issue("somebody else", AUTHORITY)
    async with secure_receiver() as receiver:
        for issued in (CLIENT, other):
            members = {"client_certificate": issued.pair, "ca_bundle": AUTHORITY.pem}
            endpoint = await service.endpoint(key, receiver.url, **members)
            assert (await tried(service, merchant, endpoint))["outcome"] == "succeeded"
        names = [peer["subject"][0][0][1] for peer in receiver.peers]
        assert names == ["mintwire at shop", "somebody else"]
        stranger = issue("stranger")
        members = {"client_certificate": stranger.pair, "ca_bundle": AUTHORITY.pem}
        endpoint = await service.endpoint(key, receiver.url, **members)
        assert (await tried(service, merchant, endpoint))["error_code"] in REFUSED
        only_known = await service.endpoint(key, receiver.url, client_certificate=CLIENT.pair)
        assert (await tried(service, merchant, only_known))["error_code"] == "tls_failed"


async def test_the_key_is_sealed_in_its_place_and_shown_to_nobody(service: Service, merchant: Merchant) -> None:
    """A private key in a response, a log or a copy of the database would impersonate us at the receiver."""
    key = merchant.partner_key
    async with secure_receiver() as receiver:
        members = {"client_certificate": CLIENT.pair, "ca_bundle": AUTHORITY.pem}
        endpoint = await service.endpoint(key, receiver.url, **members)
        shown = [endpoint, await tried(service, merchant, endpoint)]
        path = f"/endpoints/{endpoint['id']}"
        shown.append((await service.send("GET", path, key)).data)
        secret = CLIENT.key_pem.splitlines()[1]
        assert "PRIVATE" not in str(shown)
        assert secret not in str(shown)
        [row] = await service.query("SELECT * FROM webhooks.endpoints")
        assert secret not in str({**row, "sealed_client_key": row["sealed_client_key"].decode("latin-1")})
        await service.secrets()
        assert service.secrets.state == "ok"
        # The sealed key of another certificate, moved here by someone who can write to the database.
        other = await service.endpoint(key, receiver.url, client_certificate=issue("other", AUTHORITY).pair)
        await service.query(
            "UPDATE webhooks.endpoints e SET sealed_client_key = o.sealed_client_key FROM webhooks.endpoints o"
            " WHERE e.id = $1 AND o.id = $2",
            *(endpoint["id"], other["id"]),
        )
        refused = await service.send("POST", f"{path}/test", key)
        assert (refused.status, refused.body["code"]) == (409, "secret_unreadable")
        await service.secrets()
        health = await service.send("GET", f"{path}/health", key)
        assert (health.data["held_back_by"], health.data["unreadable_secret"]) == ("secret_unreadable", "auth")
        await service.send("PATCH", path, key, {"client_certificate": CLIENT.pair})
        assert (await tried(service, merchant, endpoint))["outcome"] == "succeeded"


async def test_the_key_is_sealed_anew_with_a_new_key(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the certificates' keys would be lost with the removed sealing key."""
    await service.endpoint(merchant.partner_key, f"https://{HOST}/", client_certificate=CLIENT.pair)
    renewed: list[bytes] = []

    async def note(_connection: object, _id: object, _before: bytes, after: bytes) -> None:
        renewed.append(after)

    monkeypatch.setattr(sealed, "renew_client_key", note)
    await service.secrets()
    assert not renewed
    monkeypatch.setattr(service.secrets.seal, "head", b"mws2another")
    await service.secrets()
    assert len(renewed) == 1


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"client_certificate": {"certificate": CLIENT.pem, "key": SERVER.key_pem}}, "client_certificate.key"),
    ({"client_certificate": {"certificate": CLIENT.pem, "key": CLIENT.locked_key_pem}}, "client_certificate.key"),
    ({"client_certificate": {"certificate": CLIENT.pem, "key": "nonsense"}}, "client_certificate.key"),
    ({"client_certificate": {"certificate": CLIENT.pem}}, "client_certificate.key"),
    ({"client_certificate": {"certificate": "nonsense", "key": "x"}}, "client_certificate.certificate"),
    (
        {
            "client_certificate": issue(
                "old", AUTHORITY, ends=CLIENT.certificate.not_valid_before_utc + timedelta(days=1)
            ).pair
        },
        "client_certificate.certificate",
    ),
    ({"client_certificate": {**CLIENT.pair, "certificate": CLIENT.pem * 11}}, "client_certificate.certificate"),
    ({"ca_bundle": "nonsense"}, "ca_bundle"),
    ({"ca_bundle": CLIENT.key_pem}, "ca_bundle"),
    ({"ca_bundle": AUTHORITY.pem * 21}, "ca_bundle"),
]


async def test_what_cannot_be_used_is_named(service: Service, merchant: Merchant) -> None:
    url = f"https://{HOST}/"
    endpoint = await service.endpoint(merchant.partner_key, url)
    for members, field in UNUSABLE:
        made = await service.send("POST", "/endpoints", merchant.partner_key, {"url": url, **members})
        assert (made.status, list(made.body["errors"])) == (422, [field])
        changed = await service.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, members)
        assert (changed.status, list(changed.body["errors"])) == (422, [field])


async def test_owners_are_warned_thirty_days_seven_days_and_a_day_ahead(
    service: Service, merchant: Merchant, capsys: pytest.CaptureFixture[str]
) -> None:
    key, now = merchant.partner_key, service.clock()
    issued = issue("short", AUTHORITY, ends=now + timedelta(days=40))
    endpoint = await service.endpoint(key, f"https://{HOST}/", client_certificate=issued.pair)
    soon = issue("very short", AUTHORITY, ends=now + timedelta(days=5))
    gone = await service.endpoint(key, f"https://{HOST}/", client_certificate=soon.pair)
    await service.send("DELETE", f"/endpoints/{gone['id']}", key)
    acts = service.acts
    acts.clear()
    warn = WarnOfCertificates(service.pool, service.clock, acts.extend)
    maintenance = maintenance_of(service, deliveries=30)
    counted: list[list[float]] = []
    for days in (9.5, 1, 22, 1, 5, 1, 1, 30):
        service.clock.advance(days=days)
        await asyncio.gather(warn(), warn())
        await look_after_endpoints(maintenance)
        within = ("30_days", "7_days", "1_day", "expired")
        counted.append([value(WEBHOOK_CERTIFICATES.labels(each)) for each in within])
    told = [event for event in acts if event.type == "webhook.certificate_expiring"]
    assert [b'"days_left":%d' % days in event.body for event, days in zip(told, (29, 6, 0), strict=True)] == [True] * 3
    assert all(endpoint["id"].encode() in event.body for event in told)
    assert capsys.readouterr().out.count("certificate_warning_emitted") == 3
    assert counted[0] == [0, 0, 0, 0]
    assert (counted[1], counted[3], counted[5]) == ([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0])
    assert counted[7] == [0, 0, 0, 1]
    fresh = await service.send(
        "PATCH", f"/endpoints/{endpoint['id']}", key, {"client_certificate": _long(service).pair}
    )
    assert fresh.status == 200
    await warn()
    assert len([event for event in acts if event.type == "webhook.certificate_expiring"]) == 3


def _long(service: Service) -> Issued:
    return issue("long", AUTHORITY, ends=service.clock() + timedelta(days=400))


async def test_one_that_expires_sooner_is_warned_of_at_once(service: Service, merchant: Merchant) -> None:
    soon = issue("very short", AUTHORITY, ends=service.clock() + timedelta(days=5, hours=1))
    await service.endpoint(merchant.partner_key, f"https://{HOST}/", client_certificate=soon.pair)
    service.acts.clear()
    warn = WarnOfCertificates(service.pool, service.clock, service.acts.extend)
    for _ in range(3):
        await warn()
    [event] = service.acts
    assert b'"days_left":5' in event.body


def test_a_certificate_that_is_refused_after_the_handshake_is_told_as_such() -> None:
    refused = ClientOSError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]")
    refused.__cause__ = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]")
    assert classify(refused) == "tls_failed"


def test_what_lies_in_a_file_for_a_moment_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python reads keys from files only; a copy of that file must not be a copy of the key."""
    written: list[str] = []
    load = ssl.SSLContext.load_cert_chain

    def look(context: ssl.SSLContext, file: str, **options: Any) -> None:
        with open(file) as opened:
            written.append(opened.read())
        load(context, file, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look)
    make_context(TLSTerms(CLIENT.pem, CLIENT.key_pem.encode(), None))
    assert "ENCRYPTED PRIVATE KEY" in written[0]
    assert CLIENT.key_pem.splitlines()[1] not in written[0]


@pytest.fixture
async def merchant(service: Service) -> Merchant:
    return await make_merchant(service.admin, service.clock())
