"""The command as a whole: how it is called, its help, and where its addresses and keys come from."""

import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mintwire import VERSION
from mintwire.__main__ import app, main
from mintwire.cli.config import NotConfigured, read_target
from tests.docs import markdown
from tests.mintwire.cli.conftest import Mintwire
from tests.mintwire.cli.every_command import commands, names
from tests.servers import ROOT

COMMANDS = tuple(names())


def run(
    *arguments: str, program: tuple[str, ...] = (sys.executable, "-m", "mintwire")
) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would, with an empty environment."""
    told = {name: value for name, value in os.environ.items() if not name.startswith("MINTWIRE_")}
    return subprocess.run(
        [*program, *arguments],
        env={**told, "STACK_DIR": "/nonexistent/stack"},
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_version_is_the_project_s() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert run("--version").stdout.strip() == VERSION


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")
@pytest.mark.usefixtures("stack")
def test_a_misuse_ends_with_2_and_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A code different from a refusal's: a script can tell its own mistake from the service's response."""
    misuses = [
        *(("checkout", "complete"), ("no-such-command",), ("quota", "grant", "id", "many"), ("webhook", "test")),
        *(("stack", "up", "--json"), ("webhook", "dead", "purge"), ("code", "list", "--nonsense")),
    ]
    for arguments in misuses:
        monkeypatch.setattr(sys, "argv", ["mintwire", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert (ended.value.code, bool(said)) == (2, True), arguments
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        (
            ("--help",),
            {"aio_pika", "aiohttp", "asyncio", "pydantic", "structlog", "mintwire.cli", "services", "shared"},
        ),
        (("code", "list"), {"aio_pika", "asyncpg", "pydantic", "structlog", "mintwire.stack.up", "services"}),
        (("checkout", "complete", "A1"), {"asyncpg", "mintwire.stack.up", "services"}),
    ],
)
def test_a_command_imports_what_it_needs_and_no_more(arguments: tuple[str, ...], packages: set[str]) -> None:
    """The packages of other commands take many times longer to import than this command takes to run."""
    program = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); "
    program += "from mintwire.__main__ import main; main()"
    *_, imported = run(*arguments, program=(sys.executable, "-c", program)).stdout.splitlines()
    assert [name for name in imported.split() if any(f"{name}.".startswith(f"{each}.") for each in packages)] == []


def test_the_list_of_commands_says_what_each_says_itself() -> None:
    """Their modules are not imported for the list, so the list repeats their texts."""
    for name in ("doctor", "import"):
        said = inspect.getdoc(app[name].default_command) or ""
        assert said.partition("\n\nParameters")[0] == app[name].help


def test_what_nobody_told_is_asked_for_by_name() -> None:
    finished = run("code", "generate")
    assert finished.returncode == 1
    assert "set MINTWIRE_CODES_URL, or start the local stack" in finished.stderr


def test_the_pages_name_commands_that_are_there() -> None:
    shown = [line for block in markdown.blocks("sh") for line in re.findall(r"^bin/mintwire (.*)$", block.text, re.M)]
    assert len(shown) >= 9
    assert [line for line in shown if not line.startswith(COMMANDS)] == []
    listed = (ROOT / "docs" / "operations.md").read_text().split("| command | what for |")[1].split("\n\n")[0]
    assert {command.name for command in commands()} - set(_listed(listed)) == set()


def _listed(table: str) -> Iterator[str]:
    """Yield the commands of a table whose rows are like "| `key create`, `list` | …": the group is named once."""
    for row in table.splitlines()[2:]:
        first, *others = re.findall(r"`([^`]+)`", row.split("|")[1])
        words = [
            word for word in first.split() if word.islower() and word[0].isalpha() and word.replace("-", "").isalpha()
        ]
        yield " ".join(words)
        for name in others:
            yield " ".join([*words[:-1], name])


async def test_a_service_that_is_away_is_told_in_words(mintwire: Mintwire) -> None:
    mintwire.environment["MINTWIRE_CODES_URL"] = "http://127.0.0.1:1"
    refused = await mintwire("code", "generate", code=1)
    assert "http://127.0.0.1:1/api/partners/codes/generate cannot be reached" in refused.err


async def test_another_server_is_not_taken_for_ours(mintwire: Mintwire) -> None:
    """Any HTTP server that answers 200 would pass for a service."""
    mintwire.environment["MINTWIRE_CODES_URL"] = mintwire.environment["MINTWIRE_WEBHOOKS_URL"] + "/openapi.json?"
    assert "is the address correct?" in (await mintwire("partner", "list", code=1)).err


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a stack, with an empty environment."""
    for name in list(os.environ):
        if name.startswith("MINTWIRE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("STACK_DIR", str(tmp_path))
    return tmp_path / "stack.json"


def test_the_environment_goes_before_the_stack(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command meant for production would silently act on the local stack."""
    services = {"codes": "http://127.0.0.1:1", "webhooks": "http://127.0.0.1:3"}
    stack.write_text(json.dumps({"services": services, "program": {"id": "p", "api_key": "k"}}))
    monkeypatch.setenv("MINTWIRE_CODES_URL", "https://codes.example")
    monkeypatch.setenv("MINTWIRE_PROGRAM_ID", "")
    target = read_target()
    assert (target.codes_url, target.webhooks_url) == ("https://codes.example", "http://127.0.0.1:3")
    assert (target.program_id, target.program_key) == ("p", "k")
    assert target.missing() == [
        "MINTWIRE_REDEMPTION_URL",
        "MINTWIRE_AMQP_URL",
        "MINTWIRE_OPERATOR_TOKEN",
        "MINTWIRE_PARTNER_KEY",
    ]
    with pytest.raises(NotConfigured, match=r"set MINTWIRE_PARTNER_KEY.*does not have it"):
        _ = target.partner_key


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_broken_stack_file_is_told(stack: Path, text: str) -> None:
    stack.write_text(text)
    with pytest.raises(NotConfigured, match=r"stack\.json"):
        read_target()


def test_an_address_of_another_kind_is_refused_without_being_repeated(
    stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password pasted into the wrong variable would be printed."""
    monkeypatch.setenv("MINTWIRE_AMQP_URL", "http://operator:secret-word@broker")
    with pytest.raises(NotConfigured, match="must begin with amqp://") as refused:
        read_target()
    assert "secret-word" not in str(refused.value)
