"""The doctor: everything is checked; each fault is reported with its remedy, and the rest stays fine."""

import re
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiormq
import pytest

from mintwire.cli.checks import keys as key_checks
from mintwire.cli.checks import services as service_checks
from mintwire.cli.checks.findings import Finding
from mintwire.cli.checks.management import Management
from mintwire.cli.checks.processes import check_processes, log_of
from mintwire.cli.checks.services import look_at
from mintwire.cli.client import CallFailed, fetch
from mintwire.cli.config import Target
from mintwire.stack import ports
from mintwire.stack.folder import DEATHS_FILE, StackFolder
from shared.broker.policies import POLICIES, Policy
from shared.broker.publisher import Publisher
from shared.clock import utc_now
from shared.times import format_milliseconds
from tests.mintwire.cli.conftest import Merchant, Mintwire, until, without
from tests.running import RunningServices, running_services
from tests.services.codes.test_redeeming import answering
from tests.services.webhooks.receiver import running_receiver

WORK_QUEUES = ("redemption.checkout", "codes.redemptions", "webhooks.events")
EVERYTHING = {
    "configuration",
    *(
        f"{service} {fact}"
        for service in ("codes", "redemption", "webhooks")
        for fact in ("lives", "is ready", "maintenance", "has the same time")
    ),
    *("broker answers", "broker topology", "unrouted is empty"),
    *("broker's management answers", "broker alarms", "broker bindings", "broker policies", "broker settings"),
    *(f"{queue} {fact}" for queue in WORK_QUEUES for fact in ("is consumed", "keeps up")),
    *(f"{queue}.dead {fact}" for queue in WORK_QUEUES for fact in ("is empty", "has room")),
    *("operator's token", "program's key", "program's key at checkout", "partner's key", "no webhook is dead"),
    "codes reaches redemption",
}


class Outranking(Policy):
    """A policy with a higher priority than ours."""

    @property
    def body(self) -> dict[str, Any]:
        return super().body | {"priority": 99}


@pytest.fixture
def management(mintwire: Mintwire) -> Management:
    return Management.of(mintwire.environment["MINTWIRE_MANAGEMENT_URL"], mintwire.environment["MINTWIRE_AMQP_URL"])


def broken(examined: Any) -> dict[str, Any]:
    """Return the failed checks; each failed one has a remedy and no other has."""
    assert all((check["remedy"] is None) == check["is_ok"] for check in examined["checks"])
    wrong = {check["check"]: check for check in examined["checks"] if not check["is_ok"]}
    assert examined["is_ok"] == (not wrong)
    return wrong


async def test_a_sound_system_is_found_sound(mintwire: Mintwire) -> None:
    """A doctor that reports healthy parts is soon ignored."""
    examined = await mintwire.json("doctor")
    assert broken(examined) == {}
    assert {check["check"] for check in examined["checks"]} == EVERYTHING
    shown = (await mintwire("doctor")).out.splitlines()
    assert len(shown) == len(EVERYTHING)
    assert all(line.startswith("ok     ") for line in shown)
    assert "ok     codes is ready: database ok, publisher ok, consumer ok" in "\n".join(shown)


async def test_a_stopped_service_is_found(mintwire: Mintwire, services: RunningServices) -> None:
    assert await services["redemption"].stop() == 0
    try:
        wrong = broken(await mintwire.json("doctor", code=1))
        assert set(wrong) == {
            *("redemption lives", "redemption.checkout is consumed", "redemption.checkout.dead has room"),
            *("program's key at checkout", "codes reaches redemption"),
        }
        assert "start redemption" in wrong["codes reaches redemption"]["remedy"]
        assert "python -m services.redemption serve" in wrong["redemption lives"]["remedy"]
        assert "start redemption" in wrong["redemption.checkout is consumed"]["remedy"]
    finally:
        services["redemption"].start()
        await services["redemption"].ready()
    assert broken(await mintwire.json("doctor")) == {}


async def test_a_service_that_hangs_holds_nothing_up_and_its_keys_are_not_blamed(
    mintwire: Mintwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_checks, "MOST_SECONDS", 0.2)
    monkeypatch.setattr(key_checks, "MOST_SECONDS", 0.2)
    others = ("REDEMPTION_URL", "WEBHOOKS_URL", "AMQP_URL")
    mintwire.environment = without(mintwire.environment, *(f"MINTWIRE_{name}" for name in others))
    with socket.create_server((ports.HOST, 0)) as deaf:
        mintwire.environment["MINTWIRE_CODES_URL"] = f"http://{ports.HOST}:{deaf.getsockname()[1]}"
        wrong = broken(await mintwire.json("doctor", code=1))
    keys = {"operator's token", "program's key", "partner's key", "codes reaches redemption"}
    judged = {*keys, "codes.redemptions.dead has room"}
    assert set(wrong) == {"configuration", "codes lives", *judged}
    assert "did not answer within 0.2 s" in wrong["codes lives"]["detail"]
    assert {wrong[key]["remedy"] for key in judged} == {"fix codes first"}


@pytest.mark.parametrize(("status", "is_blamed"), [(None, False), (500, False), (503, False), (401, True), (403, True)])
async def test_a_key_is_blamed_only_where_it_was_judged(status: int | None, is_blamed: bool) -> None:
    """An operator would rotate a valid key while the service is down."""

    async def refuse(_: Target) -> Finding:
        raise CallFailed("refused", status)

    check = key_checks.KeyCheck("a key", "codes", "program_key", refuse, "make another")
    finding = await key_checks.check_key(Target({}, Path("stack.json"), is_stack_up=False), check, {})
    assert finding.remedy == ("make another" if is_blamed else "fix codes first")


async def test_a_missing_queue_is_found_and_declared(mintwire: Mintwire, services: RunningServices) -> None:
    await on_channel(mintwire, lambda channel: channel.queue_delete("webhooks.events"))

    async def is_unready() -> bool:
        return "webhooks is ready" in broken(await mintwire.json("doctor", code=1))

    await until(is_unready, "webhooks to miss its queue")
    shown = await mintwire("doctor", code=1)
    line = next(line for line in shown.out.splitlines() if line.startswith("wrong  broker topology"))
    assert "missing: queue webhooks.events; fix: `mintwire doctor --fix`" in line
    assert "broker topology" not in broken(await fix(mintwire))
    await services["webhooks"].ready()
    assert broken(await mintwire.json("doctor")) == {}


async def test_a_lost_binding_is_restored_and_what_missed_it_replayed(
    mintwire: Mintwire, services: RunningServices
) -> None:
    code = (await mintwire.json("code", "generate"))["code"]
    # A running consumer would bind its queue again by itself.
    assert await services["redemption"].stop() == 0
    await on_channel(
        mintwire, lambda channel: channel.queue_unbind("redemption.checkout", "checkout", "checkout.completed")
    )
    await mintwire("checkout", "complete", code, "--timeout", "0.5", code=3)
    wrong = broken(await mintwire.json("doctor", code=1))
    assert wrong["broker bindings"]["detail"] == "missing: redemption.checkout to checkout by checkout.completed"
    assert "doctor --fix" in wrong["broker bindings"]["remedy"]
    assert "doctor --fix" in wrong["unrouted is empty"]["remedy"]
    assert "broker bindings" not in broken(await fix(mintwire))
    services["redemption"].start()
    await services["redemption"].ready()
    assert (await mintwire.json("dead", "replay", "unrouted", "--all"))["replayed"] == 1

    async def is_used() -> bool:
        return bool((await mintwire.json("code", "show", code))["status"] == "redeemed")

    await until(is_used, "the replayed checkout")


async def test_a_thing_that_exists_otherwise_cannot_be_declared(mintwire: Mintwire) -> None:
    await on_channel(mintwire, lambda channel: channel.queue_delete("unrouted"))
    await on_channel(mintwire, lambda channel: channel.queue_declare("unrouted", durable=True))
    try:
        wrong = broken(await mintwire.json("doctor", "--fix", code=1))
        assert set(wrong) == {"declaring the topology", "broker settings"}
        assert "unrouted" in wrong["declaring the topology"]["detail"]
        assert wrong["broker settings"]["detail"] == "declared otherwise: queue unrouted"
    finally:
        await on_channel(mintwire, lambda channel: channel.queue_delete("unrouted"))
        await fix(mintwire)
    assert broken(await mintwire.json("doctor")) == {}


async def test_policies_that_are_missing_changed_or_outranked_are_named_and_set(
    mintwire: Mintwire, management: Management
) -> None:
    """Without its limit a dead queue grows until the disk is full; another policy may override ours."""
    dead, unrouted = POLICIES
    await management.put_policy(replace(dead, max_length=5))
    await management.ask("DELETE", "policies", unrouted.name)
    wrong = broken(await mintwire.json("doctor", code=1))
    assert set(wrong) == {"broker policies"}
    detail = wrong["broker policies"]["detail"]
    assert f"{dead.name} is not as it should be" in detail
    assert f"missing: {unrouted.name}" in detail
    assert broken(await fix(mintwire)) == {}
    other = Outranking("somebody-s-own", unrouted.queues, 7)
    await management.put_policy(other)
    try:
        wrong = broken(await mintwire.json("doctor", "--fix", code=1))
        assert set(wrong) == {"broker policies"}
        assert wrong["broker policies"]["detail"] == f"unrouted follows somebody-s-own in place of {unrouted.name}"
    finally:
        await management.ask("DELETE", "policies", other.name)
    assert broken(await mintwire.json("doctor")) == {}


async def test_without_the_management_api_it_says_what_it_cannot_see(mintwire: Mintwire) -> None:
    mintwire.environment = without(mintwire.environment, "MINTWIRE_MANAGEMENT_URL")
    wrong = broken(await mintwire.json("doctor", code=1))
    assert set(wrong) == {"broker bindings"}
    assert "AMQP does not list them" in wrong["broker bindings"]["detail"]
    assert "MINTWIRE_MANAGEMENT_URL" in wrong["broker bindings"]["remedy"]


async def test_a_management_api_that_refuses_or_is_away_is_found(mintwire: Mintwire) -> None:
    api = mintwire.environment["MINTWIRE_MANAGEMENT_URL"]
    place = urlsplit(api).netloc.rpartition("@")[2]
    for netloc in (f"operator:secret-word@{place}", f"redemption:redemption-test@{place}", "127.0.0.1:9"):
        mintwire.environment["MINTWIRE_MANAGEMENT_URL"] = f"http://{netloc}"
        shown = await mintwire("doctor", "--json", code=1)
        assert set(broken(shown.json)) == {"broker's management answers"}
        assert "secret-word" not in shown.out + shown.err
    # Without a user of its own, it uses the broker URL's.
    mintwire.environment["MINTWIRE_MANAGEMENT_URL"] = f"http://{place}/"
    assert broken(await mintwire.json("doctor")) == {}


async def test_a_broker_that_is_away_is_found(mintwire: Mintwire) -> None:
    url = f"amqp://operator:secret-word@127.0.0.1:{ports.free_port()}/mintwire"
    mintwire.environment["MINTWIRE_AMQP_URL"] = url
    shown = await mintwire("doctor", "--json", code=1)
    assert set(broken(shown.json)) == {"broker answers"}
    assert "secret-word" not in shown.out


async def test_dead_messages_and_events_for_nobody_are_found(mintwire: Mintwire) -> None:
    async with Publisher(mintwire.environment["MINTWIRE_AMQP_URL"], "checkout") as publisher:
        await publisher.publish_one("checkout.completed", b"no json", message_id="broken")
        await publisher.publish_one("checkout.nobody_wants_this", b"{}", message_id="stray")
    found = {"redemption.checkout.dead is empty", "unrouted is empty"}

    async def are_found() -> bool:
        return set(broken(await mintwire.json("doctor", code=1))) == found

    await until(are_found, "both to be found")
    # The doctor's remedy works as written.
    remedy = broken(await mintwire.json("doctor", code=1))["redemption.checkout.dead is empty"]["remedy"]
    offered = re.findall(r"`mintwire ([^`]+)`", remedy)
    assert [command.split()[:2] for command in offered] == [["dead", "list"], ["dead", "replay"], ["dead", "purge"]]
    for command in offered:
        await until(are_found, "the message to be dead, again after its replay")
        await mintwire(*command.split())
    await mintwire("dead", "purge", "unrouted", "stray", "--yes")
    assert broken(await mintwire.json("doctor")) == {}


async def test_bad_keys_are_found_and_not_repeated(mintwire: Mintwire, merchant: Merchant) -> None:
    """The output of the doctor is pasted into tickets."""
    for name in ("OPERATOR_TOKEN", "PROGRAM_KEY", "PARTNER_KEY"):
        mintwire.environment[f"MINTWIRE_{name}"] = "secret-word-that-is-no-key"
    shown = await mintwire("doctor", "--json", code=1)
    assert set(broken(shown.json)) == {
        *("operator's token", "program's key", "program's key at checkout", "partner's key", "no webhook is dead"),
        "codes reaches redemption",
        *(f"{queue}.dead has room" for queue in WORK_QUEUES),
    }
    assert "secret-word" not in shown.out + shown.err


async def test_a_revoked_key_is_found(mintwire: Mintwire, merchant: Merchant) -> None:
    [key] = await mintwire.json("key", "list", "--partner", merchant.partner_id)
    await mintwire("key", "revoke", key["id"], "--partner", merchant.partner_id)

    async def is_found() -> bool:
        wrong = broken((await mintwire("doctor", "--json", code=None)).json)
        return set(wrong) == {"partner's key"} and "key create --partner" in wrong["partner's key"]["remedy"]

    # A key is cached for five seconds.
    await until(is_found, "the revocation to act")


async def test_dead_webhooks_are_found(mintwire: Mintwire) -> None:
    async with running_receiver() as receiver:
        receiver.status = 410
        url = f"{mintwire.environment['MINTWIRE_WEBHOOKS_URL']}/v1/webhooks/endpoints"
        key = mintwire.environment["MINTWIRE_PARTNER_KEY"]
        await fetch("POST", url, key=key, body={"url": receiver.url, "event_types": ["code.redeemed"]})
        await mintwire("checkout", "complete", (await mintwire.json("code", "generate"))["code"])

        async def is_dead() -> bool:
            return bool(await mintwire.json("webhook", "dead", "list"))

        await until(is_dead, "a dead delivery")
    wrong = broken(await mintwire.json("doctor", code=1))
    assert wrong["no webhook is dead"]["detail"] == "dead letters 1"
    assert "webhook dead replay" in wrong["no webhook is dead"]["remedy"]


async def test_what_nobody_told_is_found(mintwire: Mintwire) -> None:
    mintwire.environment = without(mintwire.environment, "MINTWIRE_WEBHOOKS_URL", "MINTWIRE_PARTNER_KEY")
    wrong = broken(await mintwire.json("doctor", code=1))
    assert set(wrong) == {"configuration"}
    assert "MINTWIRE_WEBHOOKS_URL, MINTWIRE_PARTNER_KEY" in wrong["configuration"]["detail"]


@pytest.mark.parametrize("seconds", [-30, 30])
async def test_a_clock_that_is_off_is_found(services: RunningServices, seconds: int) -> None:
    findings = (
        await look_at("codes", services["codes"].url, now=lambda: utc_now() + timedelta(seconds=seconds))
    ).findings
    assert [finding.check for finding in findings if not finding.is_ok] == ["codes has the same time"]


async def test_another_server_is_not_taken_for_a_service(services: RunningServices) -> None:
    """A stale URL may lead to something else that answers."""
    async with running_receiver() as receiver:
        findings = (await look_at("codes", receiver.url)).findings
    assert {finding.check for finding in findings if not finding.is_ok} == {"codes lives", "codes is ready"}


async def test_swapped_addresses_are_recognised(mintwire: Mintwire) -> None:
    """Each answers and is ready, so only the name reveals it; the keys are not to blame."""
    environment = mintwire.environment
    environment["MINTWIRE_CODES_URL"], environment["MINTWIRE_WEBHOOKS_URL"] = (
        environment["MINTWIRE_WEBHOOKS_URL"],
        environment["MINTWIRE_CODES_URL"],
    )
    wrong = broken(await mintwire.json("doctor", code=1))
    for name, other in (("codes", "webhooks"), ("webhooks", "codes")):
        assert wrong[f"{name} lives"]["detail"] == f"MINTWIRE_{name.upper()}_URL leads to {other}"
        assert "exchange MINTWIRE_" in wrong[f"{name} lives"]["remedy"]
    keys = {"operator's token", "program's key", "partner's key", "codes reaches redemption", "no webhook is dead"}
    keys |= {"codes.redemptions.dead has room", "webhooks.events.dead has room"}
    assert set(wrong) == {"codes lives", "webhooks lives", *keys}
    assert {wrong[key]["remedy"] for key in keys} == {"fix codes first", "fix webhooks first"}


async def test_an_address_that_leads_to_another_service_is_told(mintwire: Mintwire) -> None:
    mintwire.environment["MINTWIRE_WEBHOOKS_URL"] = mintwire.environment["MINTWIRE_REDEMPTION_URL"]
    wrong = broken(await mintwire.json("doctor", code=1))
    assert wrong["webhooks lives"]["detail"] == "MINTWIRE_WEBHOOKS_URL leads to redemption"
    assert wrong["webhooks lives"]["remedy"] == "set MINTWIRE_WEBHOOKS_URL to where webhooks serves"
    assert set(wrong) == {"webhooks lives", "no webhook is dead", "webhooks.events.dead has room"}


@pytest.mark.parametrize(
    ("status", "words"), [(401, "belongs to another installation"), (404, "Another service answers")]
)
async def test_a_codes_that_asks_a_stranger_to_redeem_is_found(
    mintwire: Mintwire, services: RunningServices, status: int, words: str
) -> None:
    """Each service and each key is fine by itself; only the address between the two is wrong."""
    async with (
        answering(status, b"{}") as stranger,
        running_services(
            services.database, services.broker_urls, names=("codes",), settings={"CODES_REDEMPTION_URL": stranger}
        ) as misled,
    ):
        mintwire.environment["MINTWIRE_CODES_URL"] = misled["codes"].url
        wrong = broken(await mintwire.json("doctor", code=1))
    assert set(wrong) == {"codes reaches redemption"}
    assert words in wrong["codes reaches redemption"]["detail"]
    assert "correct CODES_REDEMPTION_URL" in wrong["codes reaches redemption"]["remedy"]


class TestLocalStack:
    """What the supervisor of a stack on this machine has recorded."""

    NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)

    @pytest.fixture
    def target(self, tmp_path: Path) -> Target:
        folder = StackFolder(tmp_path)
        folder.prepare()
        urls = {"codes": "http://127.0.0.1:8001", "webhooks": "http://127.0.0.1:8003"}
        folder.write("stack.json", {"services": urls})
        values = {"codes_url": urls["codes"], "webhooks_url": "http://elsewhere.example"}
        return Target(values, folder.stack_file, is_stack_up=True)

    def died(self, target: Target, **minutes_ago: list[int]) -> None:
        deaths = {
            name: [format_milliseconds(self.NOW - timedelta(minutes=each)) for each in sorted(ago, reverse=True)]
            for name, ago in minutes_ago.items()
        }
        StackFolder(target.stack_file.parent).write(DEATHS_FILE, deaths)

    def test_a_service_in_a_loop_of_crashes_is_told_with_the_log_to_read(self, target: Target) -> None:
        log = StackFolder(target.stack_file.parent).log("codes")
        log.write_text("starting\ncodes: the settings (CODES_...) cannot be used: secret_key\n")
        self.died(target, codes=[9, 2, 1], rabbitmq=[3])
        [finding] = check_processes(target, lambda: self.NOW)
        assert (finding.check, finding.is_ok, finding.remedy) == ("codes stays up", False, f"read {log}")
        assert "codes died 3 times within ten minutes, last at 2026-07-01T11:59:00.000Z" in finding.detail
        assert "its log ends: codes: the settings (CODES_...) cannot be used: secret_key" in finding.detail

    def test_a_mishap_and_what_is_long_past_are_no_loop(self, target: Target) -> None:
        self.died(target, codes=[700, 600, 500], webhooks=[5])
        [finding] = check_processes(target, lambda: self.NOW)
        assert (finding.is_ok, "webhooks once" in finding.detail) == (True, True)

    def test_without_a_local_stack_there_is_nothing_to_look_at(self, target: Target) -> None:
        self.died(target, codes=[1, 2])
        assert check_processes(replace(target, is_stack_up=False), lambda: self.NOW) == []

    def test_the_log_of_a_service_is_named_only_where_it_is_the_stack_s(self, target: Target) -> None:
        assert log_of(target, "codes") == str(target.stack_file.parent / "logs" / "codes.log")
        assert "docker compose logs webhooks" in log_of(target, "webhooks")


async def fix(mintwire: Mintwire) -> Any:
    """Let the doctor fix; its exit code is ignored, because services may need a moment more to notice."""
    return (await mintwire("doctor", "--fix", "--json", code=None)).json


async def on_channel(mintwire: Mintwire, act: Callable[[aiormq.abc.AbstractChannel], Any]) -> None:
    """Change something on the broker with the operator's rights."""
    connection = await aiormq.connect(mintwire.environment["MINTWIRE_AMQP_URL"])
    try:
        await act(await connection.channel())
    finally:
        await connection.close()
