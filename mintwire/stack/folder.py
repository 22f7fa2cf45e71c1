"""The files of one stack: its state between runs, its public settings, and the process that runs it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mintwire.stack import places, processes
from mintwire.stack.errors import StackInUse
from shared.clock import utc_now
from shared.times import format_milliseconds

# The services that the dashboard calls.
CALLED = ("codes", "redemption", "webhooks")
DASHBOARD = "dashboard"
SERVICES = (*CALLED, DASHBOARD)
RECEIVER = "receiver"
SHOP = "shop"
SETTLED_FILE = "settled.json"
DEATHS_FILE = "deaths.json"
HISTORY_FILE = "demo-history.json"
HISTORY_EVENTS = "demo-events.jsonl"
# Enough to tell a crash loop from a single crash.
_KEPT_DEATHS = 20


@dataclass(frozen=True)
class StackFolder:
    """The folder of one stack, given by STACK_DIR; several live side by side."""

    path: Path

    @property
    def stack_file(self) -> Path:
        """The file that clients read; it exists while the stack is up."""
        return self.path / "stack.json"

    @property
    def supervisor_file(self) -> Path:
        """The record of the process that runs the stack."""
        return self.path / "supervisor.json"

    @property
    def webhooks_log(self) -> Path:
        """The verified webhooks of the demo receiver, one JSON object per line."""
        return self.path / "received-webhooks.jsonl"

    @property
    def shop_database(self) -> Path:
        """The demo shop's orders."""
        return self.path / "shop.sqlite3"

    @property
    def receiver_secret(self) -> Path:
        """The signing secret that the demo receiver verifies with."""
        return self.path / "receiver-secret"

    def log(self, name: str) -> Path:
        """The log file of one process."""
        return self.path / "logs" / f"{name}.log"

    def record(self, name: str) -> Path:
        """The record file of one service process."""
        return self.path / "processes" / f"{name}.json"

    def prepare(self) -> None:
        """Create the folders; other accounts (the database's does) may pass through but not list them."""
        for folder in (self.path, self.path / "logs", self.path / "processes"):
            folder.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o711)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the stack for this process; raises `StackInUse` if another one holds it."""
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackInUse(f"A stack is already up in {self.path}; `stack status` shows it") from None
            own = processes.record_of(os.getpid())
            if own is not None:
                processes.save(self.supervisor_file, own)
            try:
                yield
            finally:
                self.supervisor_file.unlink(missing_ok=True)

    def note_death(self, name: str) -> None:
        """Record that a process of the stack has crashed."""
        deaths = self.read(DEATHS_FILE)
        latest = [*deaths.get(name, []), format_milliseconds(utc_now())][-_KEPT_DEATHS:]
        self.write(DEATHS_FILE, {**deaths, name: latest})

    def deaths(self, name: str) -> list[datetime]:
        """Return the latest crashes of a process since the stack came up."""
        return [datetime.fromisoformat(text) for text in self.read(DEATHS_FILE).get(name, [])]

    def read(self, name: str) -> dict[str, Any]:
        """Read one of the stack's JSON files; empty if it does not exist."""
        try:
            value: dict[str, Any] = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return {}
        return value

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Write one of the stack's JSON files atomically, readable by its owner only."""
        processes.write_private(self.path / name, json.dumps(value, indent=2) + "\n")

    def remove(self) -> None:
        """Delete the files of a stack and nothing else: STACK_DIR may point at a folder with other files."""
        for name in ("postgres", "rabbitmq", "logs", "processes"):
            places.remove(self.path / name)
        for file in (
            *(
                "stack.json",
                "supervisor.json",
                "secrets.json",
                "demo.json",
                "ports.json",
                "broker-passwords.json",
                SETTLED_FILE,
                DEATHS_FILE,
                HISTORY_FILE,
                HISTORY_EVENTS,
            ),
            *(f"{self.shop_database.name}{suffix}" for suffix in ("", "-shm", "-wal")),
            *(self.webhooks_log.name, self.receiver_secret.name, "lock"),
        ):
            (self.path / file).unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            shutil.rmtree(self.path)


@dataclass(frozen=True)
class StackSecrets:
    """The secrets of one stack: database passwords by service, the operator's token, keys that encrypt at rest,
    and the key with which the dashboard states who acts.
    """

    database_passwords: dict[str, str]
    operator_token: str
    codes_secret_key: str
    redemption_secret_key: str
    webhooks_secret_key: str
    dashboard_key: bytes


def stack_secrets(folder: StackFolder, given_database_url: str | None) -> StackSecrets:
    """Return the stack's secrets, created on the first run.

    For a given server they are derived from its login, because the services' roles and their passwords belong to the
    whole server: stacks that share it must agree.
    """
    seed = folder.read("secrets.json").get("seed") or secrets.token_hex(32)
    folder.write("secrets.json", {"seed": seed})
    shared = urlsplit(given_database_url).netloc if given_database_url else seed
    return StackSecrets(
        database_passwords={service: _derived(shared, f"database {service}").hex() for service in SERVICES},
        operator_token=f"operator-{_derived(seed, 'operator').hex()}",
        codes_secret_key=b64encode(_derived(shared, "codes key")).decode(),
        redemption_secret_key=b64encode(_derived(shared, "redemption key")).decode(),
        webhooks_secret_key=b64encode(_derived(shared, "webhooks key")).decode(),
        dashboard_key=_derived(seed, "dashboard key"),
    )


def _derived(seed: str, purpose: str) -> bytes:
    return hashlib.blake2b(purpose.encode(), key=hashlib.sha256(seed.encode()).digest(), digest_size=32).digest()
