"""Installing RabbitMQ starts no system service and leaves no policy behind; without permission, it says what to do."""

import os
import subprocess
from pathlib import Path

import pytest

from mintwire.stack import install
from mintwire.stack.errors import MissingSoftware


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without RabbitMQ whose apt-get records how it was called and whether service starts were refused."""
    policy, program = tmp_path / "policy-rc.d", tmp_path / "rabbitmq-server"
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text(
        "#!/bin/sh\n"
        f"if sh {policy} rabbitmq-server start; then refused=no; else refused=$?; fi\n"
        f'echo "$refused $*" >> {tmp_path}/calls\n'
        f'case "$*" in install*) touch {program};; esac\n'
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt.parent}:/usr/bin:/bin")
    monkeypatch.setattr(install, "_POLICY", policy)
    monkeypatch.setattr(install, "PROGRAM", program)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def test_while_it_installs_starts_are_refused_and_afterwards_all_is_as_before(machine: Path) -> None:
    install.ensure_rabbitmq()
    calls = (machine / "calls").read_text().splitlines()
    assert [call.split()[:2] for call in calls] == [["101", "update"], ["101", "install"]]
    assert "--no-install-recommends rabbitmq-server" in calls[1]
    assert not (machine / "policy-rc.d").exists()


def test_a_policy_that_was_there_is_kept(machine: Path) -> None:
    """The policy of the machine's administrator would be lost."""
    theirs = "#!/bin/sh\nexit 101\n"
    (machine / "policy-rc.d").write_text(theirs)
    install.ensure_rabbitmq()
    assert (machine / "policy-rc.d").read_text() == theirs


def test_a_failed_install_leaves_no_policy_behind_and_says_what_to_do(machine: Path) -> None:
    """A leftover policy would keep every later package from starting its service."""
    (machine / "bin" / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    with pytest.raises(MissingSoftware, match=r"apt-get update.*failed.*docker compose up"):
        install.ensure_rabbitmq()
    assert not (machine / "policy-rc.d").exists()


def test_what_is_there_is_not_installed_again(machine: Path) -> None:
    (machine / "rabbitmq-server").touch()
    install.ensure_rabbitmq()
    assert not (machine / "calls").exists()


def test_without_the_right_to_install_it_says_what_to_do(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    sudo = machine / "bin" / "sudo"
    sudo.write_text("#!/bin/sh\nexit 1\n")
    sudo.chmod(0o755)
    with pytest.raises(MissingSoftware, match="apt-get install rabbitmq-server"):
        install.ensure_rabbitmq()
    assert not (machine / "calls").exists()


def test_sudo_without_a_password_is_used(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    sudo = machine / "bin" / "sudo"
    sudo.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    sudo.chmod(0o755)
    install.ensure_rabbitmq()
    assert subprocess.run(["grep", "-c", "^101 ", machine / "calls"], check=True, capture_output=True).stdout == b"2\n"
    assert not (machine / "policy-rc.d").exists()
