"""The decisions of a start: which part starts when, on which port, and what a closed output means."""

import asyncio
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mintwire.stack import ports
from mintwire.stack.config import StackSettings
from mintwire.stack.dashboard_keys import signing_key
from mintwire.stack.errors import ServerFailed
from mintwire.stack.folder import StackFolder
from mintwire.stack.plan import StackPlan
from mintwire.stack.supervisor import Supervisor
from mintwire.stack.units import ModuleProcess
from mintwire.stack.up import _Run, _Voice
from mintwire.terminal import OutputClosed
from shared.account_tokens import AccountKeys, Acting, Signer

DATABASE = "postgresql://mintwire:secret@127.0.0.1:1/mintwire"
NOW = datetime(2026, 12, 1, tzinfo=UTC)
BROKER = "amqp://operator:secret@127.0.0.1:1/mintwire"


class RacingSupervisor(Supervisor):
    """Starts nothing; another stack takes the first port of a service between its choice and its use."""

    def __init__(self, thief: str) -> None:
        super().__init__(lambda _: None, lambda _: None)
        self.thief = thief
        self.lost: list[int] = []
        self.started: list[tuple[str, int, dict[str, str]]] = []

    async def start(self, unit: Any) -> None:
        self.started.append((unit.name, unit.port, dict(unit._environment)))

    async def wait_answering(self, unit: Any, timeout_seconds: float) -> None:
        if unit.name == self.thief and not self.lost:
            self.lost.append(unit.port)
            raise ServerFailed(f"{unit.name} ended")

    async def discard(self, unit: Any) -> None:
        assert unit.port in self.lost


@pytest.fixture
def plan(tmp_path: Path) -> StackPlan:
    folder = StackFolder(tmp_path)
    folder.prepare()
    return StackPlan(StackSettings(tmp_path, DATABASE, BROKER, {}))


@pytest.mark.parametrize("thief", ["redemption", "codes", "webhooks", "dashboard", "receiver"])
async def test_codes_and_the_dashboard_know_where_the_others_serve_in_the_end(
    plan: StackPlan, thief: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another stack around, a port may be taken between its choice and its use; codes must not call the thief."""
    supervisor = RacingSupervisor(thief)
    monkeypatch.setattr(ports, "is_free", lambda port: port not in supervisor.lost)
    monkeypatch.setattr(ModuleProcess, "is_running", lambda _: False)
    modules = await _Run(plan, supervisor, lambda _: None)._start_modules()
    at = {module.name: module.port for module in modules}
    assert at[thief] not in supervisor.lost
    assert len(set(at.values())) == len(at) == 5
    [*_, (_, port, environment)] = [each for each in supervisor.started if each[0] == "codes"]
    assert port == at["codes"]
    assert environment["CODES_REDEMPTION_URL"] == f"http://127.0.0.1:{at['redemption']}"
    [*_, (_, port, environment)] = [each for each in supervisor.started if each[0] == "dashboard"]
    assert environment["DASHBOARD_PUBLIC_URL"] == f"http://127.0.0.1:{at['dashboard']}" == f"http://127.0.0.1:{port}"
    for name in ("codes", "redemption", "webhooks"):
        assert environment[f"DASHBOARD_{name.upper()}_URL"] == f"http://127.0.0.1:{at[name]}"


def test_the_keys_of_a_dashboard_are_handed_on_to_the_service_that_they_are_given_for(tmp_path: Path) -> None:
    StackFolder(tmp_path).prepare()
    given = {"CODES_ACCOUNT_KEYS": '{"keys": []}'}
    plan = StackPlan(StackSettings(tmp_path, DATABASE, BROKER, given))
    handed_on = {name: plan.service_environment(name, 8001) for name in ("codes", "redemption")}
    assert handed_on["codes"].items() >= given.items()
    assert handed_on["redemption"]["REDEMPTION_ACCOUNT_KEYS"] != given["CODES_ACCOUNT_KEYS"]


def test_the_services_of_a_stack_believe_its_own_dashboard_and_no_other(plan: StackPlan) -> None:
    signer = Signer.parse(plan.service_environment("dashboard", 8000)["DASHBOARD_SIGNING_KEY"])
    acting = Acting(uuid.uuid4(), "operator", "look", "request-1")
    for name in ("codes", "redemption", "webhooks"):
        keys = AccountKeys.parse(plan.service_environment(name, 8001)[f"{name.upper()}_ACCOUNT_KEYS"])
        assert keys.read(signer.sign(acting, name, NOW, uuid.uuid4()), name, NOW) is not None
        other = Signer.parse(signing_key(b"x" * 32))
        assert keys.read(other.sign(acting, name, NOW, uuid.uuid4()), name, NOW) is None


def test_a_voice_that_is_lost_stops_the_stack_and_keeps_nothing_from_stopping() -> None:
    stop, said = asyncio.Event(), list[str]()

    def say(text: str) -> None:
        if said:
            raise OutputClosed
        said.append(text)

    voice = _Voice(say, stop)
    voice("first")
    assert (said, stop.is_set()) == (["first"], False)
    for text in ("second", "Stopping", "codes stopped"):
        voice(text)
        assert stop.is_set()
    assert isinstance(voice.failed, OutputClosed)
    assert said == ["first"]
