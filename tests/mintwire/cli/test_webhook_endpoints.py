"""Endpoints by the command: shown, changed, paused, disabled and enabled, their keys, and deleted."""

from pathlib import Path
from typing import Any

import pytest

from tests.mintwire.cli.conftest import Mintwire, until
from tests.mintwire.cli.test_webhooks import redeemed
from tests.services.webhooks.certificates import issue
from tests.services.webhooks.receiver import running_receiver

URL = "http://127.0.0.1:9/hooks"


@pytest.fixture
async def endpoint(mintwire: Mintwire) -> str:
    made = await mintwire.json("webhook", "create", URL, "--event-type", "code.redeemed")
    return str(made["id"])


async def pending(mintwire: Mintwire, status: str = "pending") -> list[Any]:
    found: list[Any] = await mintwire.json("webhook", "deliveries", "--status", status)
    return found


async def test_an_endpoint_is_shown_and_changed_member_by_member(mintwire: Mintwire, endpoint: str) -> None:
    before = await mintwire.json("webhook", "show", endpoint)
    assert (before["id"], before["url"]) == (endpoint, URL)
    assert "secret" not in before
    changes = (
        *("--url", f"{URL}/new", "--event-type", "code.*", "--event-type", "test", "--format", "standard"),
        *("--description", "new", "--uid", "shop-1", "--timeout-seconds", "20", "--max-in-flight", "3"),
        *("--rate-limit-per-second", "7", "--ordering", "key", "--on-exhausted", "block", "--signing", "both"),
        *("--set", "schedule=[5, 60]", "--set", 'metadata={"team": "shop"}'),
    )
    changed = await mintwire.json("webhook", "change", endpoint, *changes)
    wanted = {
        "url": f"{URL}/new",
        "event_types": ["code.*", "test"],
        "format": "standard",
        "description": "new",
        "uid": "shop-1",
        "timeout_seconds": 20,
        "max_in_flight": 3,
        "rate_limit_per_second": 7,
        "ordering": "key",
        "on_exhausted": "block",
        "signing": "both",
        "schedule": [5, 60],
        "metadata": {"team": "shop"},
    }
    assert {name: changed[name] for name in wanted} == wanted
    again = await mintwire.json("webhook", "update", endpoint, "--no-rate-limit", "--set", "uid=null")
    assert (again["rate_limit_per_second"], again["uid"], again["url"]) == (None, None, f"{URL}/new")
    assert await mintwire.json("webhook", "show", endpoint) == again
    assert f"url                    {URL}/new" in (await mintwire("webhook", "show", endpoint)).out


async def test_certificates_are_taken_from_files(mintwire: Mintwire, endpoint: str, tmp_path: Path) -> None:
    """A receiver that requires a client certificate would fail between creation and the first change."""
    authority = issue("Shop CA", is_authority=True)
    client = issue("mintwire", authority)
    for name, text in (("ca.pem", authority.pem), ("client.pem", client.pem), ("client.key", client.key_pem)):
        (tmp_path / name).write_text(text)
    pair = ("--client-certificate", str(tmp_path / "client.pem"), "--client-key", str(tmp_path / "client.key"))
    files = (*pair, "--ca-bundle", str(tmp_path / "ca.pem"))
    made = await mintwire.json("webhook", "create", URL, *files)
    changed = await mintwire.json("webhook", "change", endpoint, *files)
    for shown in (made, changed):
        assert shown["client_certificate"]["subject"] == "CN=mintwire"
        assert [each["subject"] for each in shown["ca_bundle"]] == ["CN=Shop CA"]
    assert "expires_at" in (await mintwire("webhook", "show", endpoint)).out
    taken = await mintwire.json("webhook", "change", endpoint, "--set", "client_certificate=null")
    assert (taken["client_certificate"], len(taken["ca_bundle"])) == (None, 1)
    for words in (("change", endpoint), ("create", URL)):
        assert "together" in (await mintwire("webhook", *words, *pair[:2], code=2)).err
    missing = ("--ca-bundle", str(tmp_path / "nothing.pem"))
    assert "cannot be read" in (await mintwire("webhook", "change", endpoint, *missing, code=2)).err
    swapped = (pair[0], pair[1], pair[2], pair[1])
    refused = await mintwire("webhook", "change", endpoint, *swapped, code=1)
    assert "  client_certificate.key: " in refused.err


async def test_an_endpoint_is_told_at_creation_what_a_change_can_tell_it(mintwire: Mintwire) -> None:
    options = (
        *("--timeout-seconds", "20", "--max-in-flight", "3", "--rate-limit-per-second", "7", "--ordering", "key"),
        *("--on-exhausted", "block", "--description", "new", "--uid", "shop-1", "--set", "schedule=[5, 60]"),
        *("--set", "status=paused"),
    )
    made = await mintwire.json("webhook", "create", URL, *options)
    wanted = {
        "timeout_seconds": 20,
        "max_in_flight": 3,
        "rate_limit_per_second": 7,
        "ordering": "key",
        "on_exhausted": "block",
        "description": "new",
        "uid": "shop-1",
        "schedule": [5, 60],
        "status": "paused",
    }
    assert {name: made[name] for name in wanted} == wanted
    assert made["secret"].startswith("whsec_")


async def test_a_change_says_what(mintwire: Mintwire, endpoint: str) -> None:
    assert "give at least one change" in (await mintwire("webhook", "change", endpoint, code=2)).err
    both = ("--rate-limit-per-second", "5", "--no-rate-limit")
    assert "give either" in (await mintwire("webhook", "change", endpoint, *both, code=2)).err
    refused = await mintwire("webhook", "change", endpoint, "--url", "ftp://shop.example", code=1)
    assert "422" in refused.err
    assert "  url: " in refused.err


async def test_a_pause_holds_back_until_it_is_resumed(mintwire: Mintwire) -> None:
    async with running_receiver() as receiver:
        made = await mintwire.json("webhook", "create", receiver.url, "--event-type", "code.redeemed")
        paused = await mintwire.json("webhook", "pause", made["id"], "--until", "2099-07-31T06:00:00Z")
        assert (paused["status"], paused["paused_until"]) == ("paused", "2099-07-31T06:00:00.000000Z")
        await redeemed(mintwire)

        async def waits() -> bool:
            return bool(await pending(mintwire, "paused"))

        await until(waits, "a delivery to wait")
        assert receiver.posts == []
        assert (await mintwire.json("webhook", "resume", made["id"]))["status"] == "active"

        async def has_come() -> bool:
            return len(receiver.posts) == 1

        await until(has_come, "what has waited")
    past = await mintwire("webhook", "pause", made["id"], "--until", "2020-01-01T00:00:00Z", code=1)
    assert "  until: " in past.err


async def test_an_endpoint_is_switched_off_and_on_and_taken_away(mintwire: Mintwire, endpoint: str) -> None:
    off = await mintwire.json("webhook", "disable", endpoint)
    assert (off["status"], off["disabled_reason"]) == ("disabled", "by_owner")
    on = await mintwire.json("webhook", "enable", endpoint)
    assert (on["status"], on["disabled_reason"]) == ("active", None)
    assert (await mintwire.json("webhook", "delete", endpoint))["id"] == endpoint
    assert await mintwire.json("webhook", "endpoints") == []
    for words in (("show",), ("pause",), ("resume",), ("disable",), ("enable",), ("delete",), ("keys",)):
        assert "404, not_found" in (await mintwire("webhook", *words, endpoint, code=1)).err


async def test_keys_are_listed_and_one_is_revoked(mintwire: Mintwire, endpoint: str) -> None:
    [old] = await mintwire.json("webhook", "keys", endpoint)
    assert (old["algorithm"], old["expires_at"]) == ("hmac", None)
    last = await mintwire("webhook", "revoke", endpoint, old["id"], code=1)
    assert "409, last_key" in last.err
    rotated = await mintwire.json("webhook", "rotate", endpoint)
    listed = await mintwire.json("webhook", "keys", endpoint)
    assert [key["id"] for key in listed][1:] == [old["id"]]
    shown = await mintwire("webhook", "keys", endpoint)
    assert rotated["secret"] not in shown.out
    assert old["id"] in shown.out
    [left] = await mintwire.json("webhook", "revoke", endpoint, old["id"])
    assert left["id"] == listed[0]["id"]
    assert "404" in (await mintwire("webhook", "revoke", endpoint, old["id"], code=1)).err


async def test_a_pending_delivery_is_given_up(mintwire: Mintwire, endpoint: str) -> None:
    await redeemed(mintwire)

    async def is_pending() -> bool:
        return bool(await pending(mintwire))

    await until(is_pending, "a delivery that failed once")
    [delivery] = await pending(mintwire)
    assert (await mintwire.json("webhook", "cancel", delivery["id"]))["status"] == "canceled"
    assert await pending(mintwire) == []
    again = await mintwire("webhook", "cancel", delivery["id"], code=1)
    assert "409, delivery_not_pending" in again.err


async def test_a_program_reaches_its_partners_endpoints(mintwire: Mintwire, endpoint: str) -> None:
    assert (await mintwire.json("webhook", "show", endpoint, "--program"))["id"] == endpoint
    changed = await mintwire.json("webhook", "change", endpoint, "--description", "ours", "--program")
    assert changed["description"] == "ours"
    own = await mintwire.json("webhook", "create", URL, "--program")
    assert "404" in (await mintwire("webhook", "show", own["id"], code=1)).err
