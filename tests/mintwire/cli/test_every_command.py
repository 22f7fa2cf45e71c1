"""What holds for every command: help, a working example, `--json`, and readable errors."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mintwire.__main__ import app
from mintwire.stack import ports
from mintwire.terminal import OutputClosed
from tests.mintwire.cli.conftest import Mintwire, make_merchant
from tests.mintwire.cli.every_command import World, arguments_of, commands, is_json, made_up
from tests.mintwire.cli.test_output import broken_pipe
from tests.running import RunningServices
from tests.services.webhooks.receiver import running_receiver

ALL = {command.name: command for command in commands()}
# They start and stop whole systems, or need a whole one; tests/mintwire/stack and tests/system run them.
STACK = {name for name in ALL if name.startswith(("stack ", "demo "))}
# They run until they are stopped: tests/mintwire/cli/test_webhooks.py.
ENDLESS = {"webhook listen"}
EXAMPLES = sorted(ALL.keys() - STACK - ENDLESS)
# Findings about a system that others use too do not make the example fail.
MAY_FIND_FAULT = {"doctor"}
# They need no key.
OPEN = {"webhook rules"}
# They ask no service.
ALONE = {"account-key new"}
# They talk to the broker, whose account is in its URL.
BY_BROKER = {name for name in ALL if name.startswith("dead ")} | {
    *("checkout complete", "checkout cancel", "checkout refund")
}
SEEN: dict[str, Any] = {}


@pytest.fixture
async def world(
    bare: Mintwire, services: RunningServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A program and a partner for all examples, created once; each example creates the rest that it needs."""
    monkeypatch.chdir(tmp_path)
    if "environment" not in SEEN:
        merchant = await make_merchant(bare)
        await bare("quota", "grant", merchant.partner_id, "10000")
        SEEN["environment"] = dict(bare.environment)
    bare.environment = {**SEEN["environment"], "STACK_DIR": bare.environment["STACK_DIR"]}
    async with running_receiver() as receiver:
        made = World(bare, receiver, tmp_path, services.database.admin)
        yield made
        await made.tidy()


@pytest.mark.parametrize("name", sorted(ALL))
async def test_it_explains_itself_by_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        await app.run_async([*name.split(), "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Example: mintwire {' '.join(ALL[name].example[:2])}" in shown


@pytest.mark.parametrize("name", sorted(ALL))
def test_it_can_answer_in_json(name: str) -> None:
    assert "as_json" in ALL[name].parameters


@pytest.mark.parametrize("name", EXAMPLES)
async def test_its_example_works(name: str, world: World) -> None:
    """An example that fails is the first thing that a newcomer tries."""
    finished = await world.run(*await arguments_of(ALL[name], world), code=None)
    assert finished.code == 0 or name in MAY_FIND_FAULT, finished


@pytest.mark.parametrize("name", EXAMPLES)
async def test_its_example_works_in_json(name: str, world: World) -> None:
    arguments = await arguments_of(ALL[name], world)
    finished = await world.run(*arguments, *(() if "--json" in arguments else ("--json",)), code=None)
    assert finished.code == 0 or name in MAY_FIND_FAULT, finished
    assert is_json(finished.out), finished.out


@pytest.mark.parametrize("name", EXAMPLES)
async def test_a_reader_that_is_gone_ends_it_quietly(
    name: str, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The action is still carried out, but nothing can be read from its output."""
    arguments = await arguments_of(ALL[name], world)
    world.run.tell()
    capsys.readouterr()
    with broken_pipe() as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        try:
            await app.run_async(arguments)
        except OutputClosed:
            pass
        except SystemExit as ended:
            assert name in MAY_FIND_FAULT or not ended.code
        else:
            assert "--output" in arguments
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(ALL.keys() - STACK - ALONE))
async def test_with_everything_down_it_says_what_cannot_be_reached(name: str, world: World) -> None:
    """A traceback says neither which service is down nor how to start it."""
    command = ALL[name]
    (world.folder / "codes.csv").write_text("code\nA1\n")
    (world.folder / "body.json").write_text("{}")
    (world.folder / "discounts_export.csv").write_text("Name,Value,Value Type\nA1,-5,percentage\n")
    nowhere = f"127.0.0.1:{ports.free_port()}"
    for variable in ("CODES_URL", "REDEMPTION_URL", "WEBHOOKS_URL", "DASHBOARD_URL", "MANAGEMENT_URL"):
        world.run.environment[f"MINTWIRE_{variable}"] = f"http://{nowhere}"
    world.run.environment["MINTWIRE_AMQP_URL"] = f"amqp://operator:secret-word@{nowhere}/mintwire"
    finished = await world.run(*made_up(command), code=1)
    said = finished.out if name in MAY_FIND_FAULT else finished.err
    assert nowhere in said or "broker" in said, finished
    assert "secret-word" not in finished.out + finished.err


@pytest.mark.parametrize("name", sorted(ALL.keys() - STACK - OPEN - ALONE))
async def test_a_wrong_key_is_refused_in_words(name: str, world: World) -> None:
    command = ALL[name]
    (world.folder / "codes.csv").write_text("code\nA1\n")
    (world.folder / "body.json").write_text("{}")
    (world.folder / "discounts_export.csv").write_text("Name,Value,Value Type\nA1,-5,percentage\n")
    for variable in ("OPERATOR_TOKEN", "PROGRAM_KEY", "PARTNER_KEY"):
        world.run.environment[f"MINTWIRE_{variable}"] = "secret-word-that-is-no-key"
    url = world.run.environment["MINTWIRE_AMQP_URL"]
    world.run.environment["MINTWIRE_AMQP_URL"] = url.replace("operator:", "operator:secret-word")
    finished = await world.run(*made_up(command), code=1)
    said = finished.out if name in MAY_FIND_FAULT else finished.err
    assert ("broker" if name in BY_BROKER else "401") in said, finished
    assert "secret-word" not in finished.out + finished.err
