"""A private RabbitMQ from the system package's own programs, on free loopback ports.

It never touches the machine's default broker: it has its own node name registry, cookie, data and logs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from mintwire.stack import places, ports, processes
from mintwire.stack.errors import MissingSoftware, ServerFailed

PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
MAX_MESSAGE_BYTES = 1024 * 1024
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_HURRIED_STOP_SECONDS = 2.0
# RabbitMQ 3.10's management agent collects statistics by an event handler. Those are off, and an end that finds the
# handler there waits five seconds for a supervisor which itself waits for the handler. No spaces: a shell splits them.
_WITHOUT_STATISTICS = (
    "spawn(fun()->rabbit:await_startup(),gen_event:delete_handler(rabbit_event,rabbit_mgmt_db_handler,[])end)."
)
_ATTEMPTS = 3


class RabbitMQServer:
    """A private broker; every method may be called again after a crash of either side."""

    name = "rabbitmq"

    def __init__(
        self,
        folder: Path,
        definitions: Mapping[str, object],
        *,
        program: Path = PROGRAM,
        is_durable: bool = True,
    ) -> None:
        self._folder = folder.absolute()
        self._definitions = definitions
        self._program = program
        self._is_durable = is_durable
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def port(self) -> int:
        """The loopback port, which stays the same unless another process takes it."""
        return int((self._folder / "port").read_text())

    @property
    def management_port(self) -> int:
        """The loopback port of the management API, kept in the same way."""
        return int((self._folder / "management-port").read_text())

    @property
    def log(self) -> Path:
        """The broker's output; its own log files are in the folder `logs` next to it."""
        return self._folder / "log"

    @property
    def record(self) -> processes.ProcessRecord | None:
        """The running broker process, even if another process started it."""
        return processes.load(self._record_path("process"))

    def url(self, user: str, password: str, vhost: str) -> str:
        """Return the AMQP URL of one user in one vhost."""
        return f"amqp://{quote(user)}:{quote(password, safe='')}@{ports.HOST}:{self.port}/{quote(vhost, safe='')}"

    def management_url(self, user: str, password: str) -> str:
        """Return the management API's URL for a user, who needs a tag in the definitions."""
        return f"http://{quote(user)}:{quote(password, safe='')}@{ports.HOST}:{self.management_port}"

    def start(self) -> None:
        """Start the broker with its definitions; stops a leftover of an earlier run first."""
        if not self._program.exists():
            raise MissingSoftware("RabbitMQ is missing: install rabbitmq-server, or set AMQP_URL")
        self.stop()
        if self._is_durable:
            self._folder.mkdir(parents=True, exist_ok=True)
        else:
            places.memory_folder(self._folder)
        self._folder.chmod(0o700)
        for attempt in range(_ATTEMPTS):
            self._configure()
            if self._launch():
                return
            # A port may have been taken between the check and the start; any other error fails again.
            self.stop()
            if attempt == _ATTEMPTS - 1:
                raise ServerFailed(f"RabbitMQ did not start; the end of its log:\n{processes.tail(self.log)}")

    def stop(self) -> None:
        """Stop the broker cleanly, then its name registry; does nothing when both are down."""
        for name in ("process", "epmd"):
            if record := processes.load(self._record_path(name)):
                child = self._children.get(name)
                processes.end(record, grace_seconds=self._stop_seconds, child=child)
        for child in self._children.values():
            child.poll()

    def is_running(self) -> bool:
        """Return whether the broker's process is running."""
        return self.record is not None

    def is_answering(self) -> bool:
        """Return whether the broker greets an AMQP client."""
        try:
            with socket.create_connection((ports.HOST, self.port), timeout=2) as connection:
                connection.sendall(_PROTOCOL_HEADER)
                return connection.recv(1) == _METHOD_FRAME
        except OSError:
            return False

    @property
    def _stop_seconds(self) -> float:
        return _STOP_SECONDS if self._is_durable else _HURRIED_STOP_SECONDS

    def _record_path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _configure(self) -> None:
        port = self._choose_port("port")
        management_port = self._choose_port("management-port", taken=[port])
        processes.write_private(self._folder / "definitions.json", json.dumps(self._definitions, indent=1))
        # Erlang derives its own cookie from the clock, and anyone who guesses it can run code in the broker.
        processes.write_private(self._folder / ".erlang.cookie", secrets.token_hex(32))
        (self._folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        settings = {
            "listeners.tcp.1": f"{ports.HOST}:{port}",
            "management.tcp.ip": ports.HOST,
            "management.tcp.port": str(management_port),
            # Only the lists of the management API are used: collecting statistics would cost CPU all the time.
            "management.disable_stats": "true",
            "management_agent.disable_metrics_collector": "true",
            "load_definitions": str(self._folder / "definitions.json"),
            "max_message_size": str(MAX_MESSAGE_BYTES),
            "disk_free_limit.absolute": "50MB",
            "vm_memory_high_watermark.absolute": "1GB",
            # The default of 512 MB is more than a laptop should give to one write-ahead log.
            "raft.wal_max_size_bytes": str(64 * 1024 * 1024),
            "log.file.rotation.size": str(10 * 1024 * 1024),
            "log.file.rotation.count": "3",
        }
        (self._folder / "rabbitmq.conf").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))

    def _choose_port(self, name: str, taken: Iterable[int] = ()) -> int:
        file = self._folder / name
        port = ports.free_port([int(file.read_text())] if file.exists() else [], taken)
        processes.write_private(file, str(port))
        return port

    def _launch(self) -> bool:
        own = [self.port, self.management_port]
        epmd_port = ports.free_port(taken=own)
        distribution_port = ports.free_port(taken=[*own, epmd_port])
        environment = self._environment(epmd_port, distribution_port)
        # Started here and in the foreground: the one that Erlang starts by itself has no owner
        # and stays behind.
        self._spawn("epmd", [_epmd(), "-port", str(epmd_port), "-address", ports.HOST], environment)
        if not _wait(lambda: ports.accepts(epmd_port), 10):
            return False
        child = self._spawn("process", [self._program], environment)
        return _wait(lambda: child.poll() is not None or self.is_answering(), _START_SECONDS) and (child.poll() is None)

    def _spawn(self, name: str, argv: list[str | Path], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        self._children[name] = processes.spawn(
            argv,
            environment=environment,
            log=self.log,
            record=self._record_path(name),
            cwd=self._folder,
        )
        return self._children[name]

    def _environment(self, epmd_port: int, distribution_port: int) -> dict[str, str]:
        folder = self._folder
        schedulers = min(4, max(2, os.cpu_count() or 1))
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            # Erlang looks for its cookie here.
            "HOME": str(folder),
            # The script then becomes the broker instead of waiting for it: a single process, whose signals and
            # death are the broker's own.
            "RUNNING_UNDER_SYSTEMD": "true",
            # The data contains the node's name, so it must not change with the port.
            "RABBITMQ_NODENAME": "mintwire@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": ports.HOST,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-kernel inet_dist_use_interface {{127,0,0,1}} +S {schedulers}:{schedulers} +sbwt none"
                f" -eval {_WITHOUT_STATISTICS}"
            ),
        }


def hashed_password(password: str, salt: bytes | None = None) -> str:
    """Return the password hash for the broker's definitions: SHA-256 with four bytes of salt, random by default."""
    salt = salt or secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _epmd() -> str:
    found = shutil.which("epmd")
    if found is None:
        raise MissingSoftware("Erlang's epmd is missing: install rabbitmq-server, or set AMQP_URL")
    return found


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
