"""`.env.example` lists every variable that is read, each with a comment and its real default, and nothing else."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from mintwire.stack.compose_definitions import development_password
from shared.broker.permissions import PERMISSIONS
from shared.config import DatabaseSettings, ServiceSettings
from tests.architecture.source import ROOT

SERVICES = ("codes", "redemption", "webhooks", "dashboard")
# What `make run` reads: mintwire/stack/config.py.
STACK_VARIABLES = {"STACK_DIR", "DATABASE_URL", "AMQP_URL"}
# What mintwire/stack/compose_definitions.py reads.
DEFINITIONS_VARIABLES = {f"{user.upper()}_BROKER_PASSWORD": development_password(user) for user in PERMISSIONS}
COMPOSE_FILES = ("docker-compose.yml", "deploy/production.yml")

_ENTRY = re.compile(r"#?([A-Z][A-Z0-9_]*)=(.*)")
# A default may be JSON, with braces inside of braces.
_COMPOSE_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*))?")


def _settings(service: str) -> type[DatabaseSettings]:
    module = importlib.import_module(f"services.{service}.config")
    (found,) = [
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, DatabaseSettings)
        and member not in (DatabaseSettings, ServiceSettings)
    ]
    return found


def _service_variables() -> dict[str, Any]:
    """Return each service's variables with their defaults; without a default the variable has to be given."""
    found: dict[str, Any] = {}
    for service in SERVICES:
        settings = _settings(service)
        prefix = settings.model_config["env_prefix"]
        assert prefix == f"{service.upper()}_"
        for name, field in settings.model_fields.items():
            found[f"{prefix}{name.upper()}"] = field.get_default(call_default_factory=True)
    return found


def _compose_variables() -> dict[str, str]:
    """Return the variables that compose fills in, with their defaults."""
    found: dict[str, str] = {}
    for name in COMPOSE_FILES:
        lines = (ROOT / name).read_text("utf-8").splitlines()
        for line in lines:
            if not line.lstrip().startswith("#"):
                for variable, default in _COMPOSE_VARIABLE.findall(line):
                    found[variable] = default or found.get(variable, "")
    return found


def _command_variables() -> set[str]:
    text = (ROOT / "mintwire" / "cli" / "config.py").read_text("utf-8")
    return set(re.findall(r'"(MINTWIRE_[A-Z_]+)"', text))


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and the comment before it."""
    comment: list[str] = []
    for line in text.splitlines():
        if match := _ENTRY.fullmatch(line):
            yield match[1], match[2], " ".join(comment)
            comment = []
        elif line.startswith("# "):
            comment.append(line.removeprefix("# "))
        else:
            comment = []


@pytest.fixture(scope="module")
def entries() -> list[tuple[str, str, str]]:
    return list(_entries((ROOT / ".env.example").read_text("utf-8")))


def test_every_variable_is_listed_once_and_nothing_else(entries: list[tuple[str, str, str]]) -> None:
    names = [name for name, _, _ in entries]
    assert len(names) == len(set(names))
    others = STACK_VARIABLES | set(DEFINITIONS_VARIABLES) | _command_variables()
    assert set(names) == set(_service_variables()) | set(_compose_variables()) | others


def test_compose_hands_on_what_can_be_set() -> None:
    """A variable in `.env` that no service is given would be set in vain."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    given = set(re.findall(r"^  ([A-Z][A-Z0-9_]*): ", text, re.MULTILINE))
    # Only `migrate` is given these, in its own block.
    administrators = {name for name in _service_variables() if "_ADMIN_" in name}
    assert set(_service_variables()) - administrators <= given


def test_every_variable_has_a_comment(entries: list[tuple[str, str, str]]) -> None:
    assert [name for name, _, comment in entries if not comment] == []


def test_what_compose_does_not_hand_on_is_marked(entries: list[tuple[str, str, str]]) -> None:
    """Else somebody sets it in `.env`, and nothing happens."""
    marked = {name for name, _, comment in entries if comment.startswith("(native) ")}
    handed_on = set(_compose_variables()) | set(DEFINITIONS_VARIABLES)
    assert marked == {name for name, _, _ in entries} - handed_on


def test_the_documented_default_is_the_real_one(entries: list[tuple[str, str, str]]) -> None:
    documented = {name: value for name, value, _ in entries}
    real = _compose_variables() | DEFINITIONS_VARIABLES
    real |= {
        name: default for name, default in _service_variables().items() if default not in (None, PydanticUndefined)
    }
    differing = {
        name: (documented[name], default) for name, default in real.items() if documented[name] != str(default)
    }
    assert differing == {}


def test_a_copy_changes_nothing(entries: list[tuple[str, str, str]]) -> None:
    """Every entry is commented out, so that a copy as `.env` starts the very same system."""
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    assert entries


def test_the_stack_s_variables_are_those_it_reads() -> None:
    text = (ROOT / "mintwire" / "stack" / "config.py").read_text("utf-8")
    assert set(re.findall(r'environment\.get\("([A-Z_]+)"\)', text)) == STACK_VARIABLES


@pytest.mark.parametrize(
    ("text", "expected"),
    [("# The port.\n#A_PORT=1\n", True), ("#A_PORT=1\n", False), ("# x\n\n#A_PORT=1\n", False)],
)
def test_a_missing_comment_is_found(text: str, expected: bool) -> None:
    assert [bool(comment) for _, _, comment in _entries(text)] == [expected]
