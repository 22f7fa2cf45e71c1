"""The image is small in rights: not root, hash-locked packages, no installer, no secrets from the working folder."""

import re
import subprocess

import pytest

from tests.deploy.compose_files import REPOSITORY


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    text = (REPOSITORY / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def test_the_last_user_is_numeric_and_not_root(instructions: list[tuple[str, str]]) -> None:
    users = [argument for name, argument in instructions if name == "USER"]
    assert users
    assert int(users[-1].split(":")[0]) > 0


def test_packages_are_installed_by_hash_and_the_final_stage_installs_nothing(
    instructions: list[tuple[str, str]],
) -> None:
    stages = [index for index, (name, _) in enumerate(instructions) if name == "FROM"]
    first, last = instructions[: stages[-1]], instructions[stages[-1] :]
    assert [argument for name, argument in first if name == "RUN" and "--require-hashes" in argument]
    assert not [argument for name, argument in last if name == "RUN" and "install " in argument and "pip " in argument]


def test_nothing_needs_buildkit(instructions: list[tuple[str, str]]) -> None:
    for name, argument in instructions:
        assert not re.search(r"--(mount|network|security|link|chmod)\b", argument), name
        assert "<<" not in argument


def test_a_stop_is_asked_by_sigterm_and_output_is_not_held_back(instructions: list[tuple[str, str]]) -> None:
    assert ("STOPSIGNAL", "SIGTERM") in instructions
    assert [argument for name, argument in instructions if name == "ENV" and "PYTHONUNBUFFERED=1" in argument]


def test_only_named_folders_are_sent_to_the_engine(instructions: list[tuple[str, str]]) -> None:
    """Otherwise local environments, keys and `.env` files could end in the image."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {a.split()[0] for n, a in instructions if n == "COPY" and "--from" not in a}
    assert rules[0] == "*"
    assert allowed == copied
    assert "**/.env*" in rules


@pytest.mark.parametrize("name", [".env", ".env.production", "definitions.json", "definitions.json.new"])
def test_secrets_that_the_guide_has_people_write_here_are_not_committed(name: str) -> None:
    done = subprocess.run(["git", "check-ignore", "--quiet", name], cwd=REPOSITORY, check=False)
    if (REPOSITORY / ".git").exists():
        assert done.returncode == 0


def test_definitions_are_never_sent_to_the_engine() -> None:
    assert "**/definitions.json*" in (REPOSITORY / ".dockerignore").read_text().splitlines()
