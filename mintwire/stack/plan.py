"""Decides what a stack consists of: its servers, private or given, and its services with their settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from mintwire.stack import ports, processes
from mintwire.stack.config import ROOT, StackSettings
from mintwire.stack.dashboard_keys import account_keys, signing_key
from mintwire.stack.definitions import broker_definitions, stored_passwords
from mintwire.stack.errors import ServerFailed
from mintwire.stack.folder import CALLED, DASHBOARD, RECEIVER, SERVICES, SHOP, StackFolder, stack_secrets
from mintwire.stack.postgres import PostgresServer
from mintwire.stack.rabbitmq import RabbitMQServer
from mintwire.stack.units import ModuleProcess, Unit
from shared.broker.topology import VHOST

_DEFAULT_PORTS = {"codes": 8001, "redemption": 8002, "webhooks": 8003, DASHBOARD: 8000, SHOP: 8004}
# Settings of a service that the caller may set; all others are computed.
_OPEN_SETTINGS = ("LOG_LEVEL", "LOG_FORMAT", "DATABASE_POOL_SIZE", "ACCOUNT_KEYS")
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


class StackPlan:
    """The parts of one stack. URLs are known once the private servers among them were started."""

    def __init__(self, settings: StackSettings) -> None:
        self.folder = StackFolder(settings.folder)
        self._settings = settings
        self._broker_passwords = stored_passwords(self.folder.path / "broker-passwords.json")
        self._secrets = stack_secrets(self.folder, settings.database_url)
        self.postgres = PostgresServer(self.folder.path / "postgres") if not settings.database_url else None
        definitions = broker_definitions([VHOST], self._broker_passwords)
        self.rabbitmq = RabbitMQServer(self.folder.path / "rabbitmq", definitions) if not settings.amqp_url else None

    @property
    def servers(self) -> list[Unit]:
        """The private servers; given ones are not started."""
        return [server for server in (self.postgres, self.rabbitmq) if server is not None]

    @property
    def operator_token(self) -> str:
        """The token of the codes service's operator."""
        return self._settings.environment.get("CODES_OPERATOR_TOKEN") or self._secrets.operator_token

    @property
    def database_url(self) -> str:
        """The database URL with all rights."""
        return self.postgres.url if self.postgres else str(self._settings.database_url)

    def broker_url(self, user: str) -> str:
        """Return the URL of a broker user; of a given broker only one user is known."""
        if self.rabbitmq is None:
            return str(self._settings.amqp_url)
        return self.rabbitmq.url(user, self._broker_passwords[user], VHOST)

    @property
    def management_url(self) -> str | None:
        """The management API of the private broker, as its operator; None for a given broker."""
        if self.rabbitmq is None:
            return None
        return self.rabbitmq.management_url("operator", self._broker_passwords["operator"])

    def service(self, name: str, port: int) -> ModuleProcess:
        """Return the process of one service."""
        return ModuleProcess(
            name, [f"services.{name}", "serve"], self.service_environment(name, port), self.folder, port
        )

    def receiver(self, port: int) -> ModuleProcess:
        """Return the process of the demo receiver."""
        files = [str(self.folder.receiver_secret), str(self.folder.webhooks_log)]
        arguments = ["mintwire.stack.receiver", str(port), *files]
        return ModuleProcess(RECEIVER, arguments, self._passed_on(), self.folder, port)

    def shop(self, port: int, program_id: str, api_key: str) -> ModuleProcess:
        """Return the process of the demo shop, which knows only what a shop's own server would."""
        environment = self._passed_on() | {
            "SHOP_PORT": str(port),
            "SHOP_PROGRAM_ID": program_id,
            "SHOP_API_KEY": api_key,
            "SHOP_REDEMPTION_URL": f"http://{ports.HOST}:{self.known_port('redemption')}",
            "SHOP_AMQP_URL": self.broker_url("checkout"),
            "SHOP_DATABASE": str(self.folder.shop_database),
            "SHOP_DASHBOARD_URL": f"http://{ports.HOST}:{self.known_port(DASHBOARD)}",
        }
        return ModuleProcess(SHOP, ["examples.shop"], environment, self.folder, port, host=ports.SHOP_HOST)

    def choose_port(self, name: str, taken: Iterable[int]) -> int:
        """Return the port of the last run, the default one, or any free one, and remember it."""
        known = self.folder.read("ports.json")
        preferred = [port for port in (known.get(name), _DEFAULT_PORTS.get(name)) if port]
        port = ports.free_port(preferred, taken)
        self.folder.write("ports.json", {**known, name: port})
        return port

    def migrate(self, name: str) -> None:
        """Run the migrate command of a service; raises `ServerFailed` with the end of its output."""
        log = self.folder.log(f"{name}-migrate")
        with log.open("ab") as output:
            log.chmod(0o600)
            finished = subprocess.run(
                [sys.executable, "-m", f"services.{name}", "migrate"],
                env=self.service_environment(name, _DEFAULT_PORTS[name], is_migrating=True),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if finished.returncode != 0:
            raise ServerFailed(f"The migrations of {name} failed; the end of {log}:\n{processes.tail(log)}")

    def service_environment(self, name: str, port: int, *, is_migrating: bool = False) -> dict[str, str]:
        """Return the settings of a service; with the operator's rights only for its migrations."""
        own = {
            "ENVIRONMENT": "development",
            "HOST": ports.HOST,
            "PORT": str(port),
            "DATABASE_URL": self._service_database_url(name),
            "OPERATOR_TOKEN": self.operator_token,
        }
        if is_migrating:
            own["ADMIN_DATABASE_URL"] = self.database_url
        if name != DASHBOARD:
            own |= {"AMQP_URL": self.broker_url(name), "ACCOUNT_KEYS": account_keys(self._secrets.dashboard_key)}
            own |= {"ADMIN_AMQP_URL": self.broker_url("operator")} if is_migrating else {}
        given = self._settings.environment
        prefixed = {f"{name.upper()}_{key}": value for key, value in own.items()}
        for key in _OPEN_SETTINGS:
            if value := given.get(f"{name.upper()}_{key}"):
                prefixed[f"{name.upper()}_{key}"] = value
        return self._passed_on() | prefixed | self._service_secrets(name)

    def _service_secrets(self, name: str) -> dict[str, str]:
        given = self._settings.environment
        if name == "codes":
            key = given.get("CODES_SECRET_KEY") or self._secrets.codes_secret_key
            return {
                "CODES_SECRET_KEY": key,
                "CODES_REDEMPTION_URL": f"http://{ports.HOST}:{self.known_port('redemption')}",
            }
        if name == "redemption":
            key = given.get("REDEMPTION_SECRET_KEY") or self._secrets.redemption_secret_key
            return {"REDEMPTION_SECRET_KEY": key}
        if name == "webhooks":
            key = given.get("WEBHOOKS_SECRET_KEY") or self._secrets.webhooks_secret_key
            return {"WEBHOOKS_SECRET_KEY": key}
        return self._dashboard_settings(given)

    def _dashboard_settings(self, given: Mapping[str, str]) -> dict[str, str]:
        urls = {name: f"http://{ports.HOST}:{self.known_port(name)}" for name in (*CALLED, DASHBOARD)}
        return {
            "DASHBOARD_SIGNING_KEY": given.get("DASHBOARD_SIGNING_KEY") or signing_key(self._secrets.dashboard_key),
            "DASHBOARD_PUBLIC_URL": urls[DASHBOARD],
            "DASHBOARD_CODES_PUBLIC_URL": urls["codes"],
            **{f"DASHBOARD_{name.upper()}_URL": urls[name] for name in CALLED},
        }

    def known_port(self, name: str) -> int:
        """Return the port that a service had last, or else its usual one."""
        port: int = self.folder.read("ports.json").get(name) or _DEFAULT_PORTS[name]
        return port

    def _service_database_url(self, name: str) -> str:
        parts = urlsplit(self.database_url)
        address = parts.netloc.rpartition("@")[2]
        login = f"mintwire_{name}:{self._secrets.database_passwords[name]}"
        return parts._replace(netloc=f"{login}@{address}").geturl()

    def _passed_on(self) -> dict[str, str]:
        given = self._settings.environment
        return {name: given[name] for name in _PASSED_ON if name in given} | {"PYTHONUNBUFFERED": "1"}


def leftovers(folder: StackFolder) -> list[Unit]:
    """Return every unit that an earlier run of a stack may have left behind, the last started first."""
    modules: list[Unit] = [ModuleProcess(name, [], {}, folder, 0) for name in (RECEIVER, *SERVICES, SHOP)]
    private: list[Unit] = [RabbitMQServer(folder.path / "rabbitmq", {}), PostgresServer(folder.path / "postgres")]
    return modules[::-1] + private
