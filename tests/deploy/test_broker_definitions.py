"""The definitions file that compose gives to the broker says what the topology says, and nothing more."""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mintwire.stack.compose_definitions import (
    compose_definitions,
    development_hashes,
    development_password,
    hashes_from,
)
from shared.broker import topology
from shared.broker.permissions import PERMISSIONS

REPOSITORY = Path(__file__).parents[2]
COMMITTED = REPOSITORY / "deploy" / "rabbitmq" / "definitions.json"


def is_password(stored: str, password: str) -> bool:
    raw = base64.b64decode(stored)
    return raw[4:] == hashlib.sha256(raw[:4] + password.encode()).digest()


def committed() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(COMMITTED.read_text())
    return loaded


def test_the_committed_file_is_what_the_topology_gives() -> None:
    """Otherwise a changed permission would hold in tests and not in compose."""
    assert committed() == compose_definitions(development_hashes())


def test_the_program_prints_the_committed_file() -> None:
    program = [sys.executable, "-m", "mintwire.stack.compose_definitions"]
    printed = subprocess.run(program, cwd=REPOSITORY, env={}, capture_output=True, check=True, timeout=60)
    assert printed.stdout.decode() == COMMITTED.read_text()


def test_there_is_no_guest_and_only_the_operator_manages() -> None:
    tags = {user["name"]: user["tags"] for user in committed()["users"]}
    assert set(tags) == set(PERMISSIONS)
    assert "guest" not in tags
    assert [name for name, given in tags.items() if given] == ["operator"]


def test_each_user_has_its_published_password() -> None:
    for user in committed()["users"]:
        assert is_password(user["password_hash"], development_password(user["name"]))


def test_own_passwords_are_salted_by_chance() -> None:
    environment = {f"{user.upper()}_BROKER_PASSWORD": f"own-{user}" for user in PERMISSIONS}
    first, second = hashes_from(environment), hashes_from(environment)
    for user in PERMISSIONS:
        assert is_password(first[user], f"own-{user}")
        assert is_password(second[user], f"own-{user}")
        assert first[user] != second[user]


def test_a_forgotten_password_is_refused_by_name() -> None:
    """One forgotten user would keep a password that everybody knows."""
    environment = {f"{user.upper()}_BROKER_PASSWORD": "own" for user in PERMISSIONS}
    del environment["CHECKOUT_BROKER_PASSWORD"]
    with pytest.raises(ValueError, match="not set: CHECKOUT_BROKER_PASSWORD"):
        hashes_from(environment)


def test_the_published_passwords_are_refused_where_own_ones_are_wanted() -> None:
    """Otherwise an empty `.env` would give a production broker the passwords that everybody knows."""
    with pytest.raises(ValueError, match="not set: CODES_BROKER_PASSWORD, REDEMPTION_BROKER_PASSWORD"):
        hashes_from({}, are_own=True)


def test_the_broker_is_told_the_limit_that_the_topology_names() -> None:
    lines = (REPOSITORY / "deploy" / "rabbitmq" / "mintwire.conf").read_text().splitlines()
    settings = dict(line.split(" = ", 1) for line in lines if " = " in line and not line.startswith("#"))
    assert int(settings["max_message_size"]) == topology.MESSAGE_LIMIT_BYTES
    assert settings["load_definitions"] == "/etc/rabbitmq/definitions.json"
