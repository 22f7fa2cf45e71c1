"""The compose file parses, starts things in the right order, and gives away nothing it need not."""

import base64
import re
import stat
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from yarl import URL

from mintwire.stack.compose_definitions import development_password
from services.codes.config import CodesSettings
from services.dashboard.config import read_signer
from shared.account_tokens import AccountKeys, Acting
from shared.broker import topology
from shared.clock import utc_now
from shared.config import DEVELOPMENT_MARK
from tests.deploy.compose_files import REPOSITORY, config, run_config

OURS = (
    *("image", "migrate", "codes", "redemption", "webhooks", "dashboard", "demo"),
    *("receiver", "shop", "mintwire", "definitions"),
)
SERVICES = {"codes": 8001, "redemption": 8002, "webhooks": 8003}
HTTP_SERVICES = {**SERVICES, "dashboard": 8000}
ORIGIN = 8080
SERVERS = ("postgres", "rabbitmq")
PROXY = "proxy"
PRODUCTION = ("docker-compose.yml", "deploy/production.yml")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    profiles = {"COMPOSE_PROFILES": "command"}
    found: dict[str, Any] = config("docker-compose.yml", environment=profiles)["services"]
    return found


def required() -> list[str]:
    return re.findall(r"\$\{([A-Z_]+):\?\}", (REPOSITORY / "deploy" / "production.yml").read_text())


def test_every_part_of_the_system_is_there(services: dict[str, Any]) -> None:
    assert set(services) == {*OURS, *SERVERS, PROXY}


@pytest.mark.parametrize("name", OURS)
def test_our_containers_cannot_write_or_gain_rights(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["stop_grace_period"] == "30s"
    assert "user" not in service  # the image's own, which is not root
    assert not service.get("privileged")
    assert not service.get("cap_add")


@pytest.mark.parametrize("name", SERVERS)
def test_the_servers_run_as_their_own_user_without_rights(services: dict[str, Any], name: str) -> None:
    assert services[name]["user"] == name
    assert services[name]["cap_drop"] == ["ALL"]
    assert services[name]["security_opt"] == ["no-new-privileges:true"]


def test_the_broker_s_cookie_is_random_at_each_start(services: dict[str, Any], tmp_path: Path) -> None:
    """Every container of the network reaches Erlang's port; the cookie that Erlang makes by itself can be guessed."""
    started = tmp_path / "docker-entrypoint.sh"
    started.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/started\n')
    started.chmod(0o755)
    (tmp_path / "definitions.json").write_text("{}")
    argv = [
        part.replace("$$", "$").replace("/var/lib/rabbitmq", str(tmp_path)).replace("/etc/rabbitmq", str(tmp_path))
        for part in services["rabbitmq"]["entrypoint"]
    ]
    cookies = set()
    for _ in range(2):
        subprocess.run(argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True, timeout=60)
        cookie = tmp_path / ".erlang.cookie"
        assert stat.S_IMODE(cookie.stat().st_mode) == 0o600
        assert re.fullmatch(r"[0-9a-f]{64}", cookie.read_text())
        cookies.add(cookie.read_text())
    assert len(cookies) == 2
    assert (tmp_path / "started").read_text().split() == ["rabbitmq-server"] * 2


def test_the_broker_does_not_start_without_users(services: dict[str, Any], tmp_path: Path) -> None:
    """RabbitMQ takes an empty file for definitions without users, is healthy, and refuses everybody."""
    empty = tmp_path / "definitions.json"
    empty.touch()
    argv = [
        part.replace("$$", "$").replace("/etc/rabbitmq", str(tmp_path)) for part in services["rabbitmq"]["entrypoint"]
    ]
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "The file that RABBITMQ_DEFINITIONS names is empty" in done.stderr


def test_one_service_builds_the_image_and_no_other_asks_a_registry_for_it(services: dict[str, Any]) -> None:
    """With several builds of one tag all but one fail at export; and no registry has an image of that name."""
    assert [name for name in services if "build" in services[name]] == ["image"]
    assert services["image"]["pull_policy"] == "missing"
    assert {services[name]["pull_policy"] for name in OURS if name != "image"} == {"never"}
    for file in sorted((REPOSITORY / "deploy").rglob("*.yml")):
        building = re.findall(r"^  ([a-z-]+):\n    build:", file.read_text(), re.MULTILINE)
        assert set(building) <= {"image"}, file
    # So that each of them can be the first that is run.
    for name in ("migrate", "mintwire", "definitions"):
        assert services[name]["depends_on"]["image"]["condition"] == "service_completed_successfully"


def test_all_of_ours_is_one_image(services: dict[str, Any]) -> None:
    assert len({services[name]["image"] for name in OURS}) == 1


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    published = {
        (name, int(port["target"])): port["host_ip"]
        for name, service in services.items()
        for port in service.get("ports", [])
    }
    of_proxy = [(PROXY, port) for port in (*HTTP_SERVICES.values(), ORIGIN)]
    assert published == dict.fromkeys([*of_proxy, ("shop", 8004), ("rabbitmq", 5672), ("rabbitmq", 15672)], "127.0.0.1")


@pytest.mark.parametrize("name", HTTP_SERVICES)
def test_a_service_can_run_many_times_behind_the_proxy(services: dict[str, Any], name: str) -> None:
    """What bears a name, a port of the host or another's network of its own can be there only once."""
    assert not {"ports", "container_name", "hostname", "network_mode", "volumes"} & set(services[name])
    proxy = (REPOSITORY / "deploy" / "haproxy" / "haproxy.cfg").read_text()
    port = HTTP_SERVICES[name]
    assert f"bind :{port}" in proxy
    assert re.search(rf"server-template {name}- \d+ {name}:{port}$", proxy, re.MULTILINE)


def test_no_container_needs_the_network_of_another(services: dict[str, Any]) -> None:
    """After a restart of the engine such a one is not started again while the other is not up yet."""
    for name, service in services.items():
        assert not str(service.get("network_mode", "")).startswith(("service:", "container:")), name


def test_the_proxy_can_be_read_only_and_needs_no_rights(services: dict[str, Any]) -> None:
    assert services[PROXY]["read_only"] is True
    assert services[PROXY]["cap_drop"] == ["ALL"]
    assert services[PROXY]["security_opt"] == ["no-new-privileges:true"]


def test_the_guesses_of_the_public_are_counted_behind_the_one_proxy(services: dict[str, Any]) -> None:
    assert services["redemption"]["environment"]["REDEMPTION_TRUSTED_PROXIES"] == "1"
    assert services[PROXY]["environment"]["TRUSTED_PROXIES"] == "1"
    more = config("docker-compose.yml", environment={"REDEMPTION_TRUSTED_PROXIES": "2"})["services"]
    assert more["redemption"]["environment"]["REDEMPTION_TRUSTED_PROXIES"] == "2"
    assert more[PROXY]["environment"]["TRUSTED_PROXIES"] == "2"


def test_the_one_origin_exposes_nothing_internal_unless_it_is_told_to(services: dict[str, Any]) -> None:
    assert services[PROXY]["environment"]["ORIGIN_EXPOSES_INTERNALS"] == "no"


def test_the_proxy_has_its_configuration_and_its_maps(services: dict[str, Any]) -> None:
    [volume] = services[PROXY]["volumes"]
    assert (Path(volume["source"]), volume["read_only"]) == (REPOSITORY / "deploy" / "haproxy", True)
    text = (REPOSITORY / "deploy" / "haproxy" / "haproxy.cfg").read_text()
    named = set(re.findall(rf"{volume['target']}/([\w.-]+)", text))
    assert {"origin-services.map", "origin-bodies.map"} == named
    assert all((REPOSITORY / "deploy" / "haproxy" / name).is_file() for name in named)


@pytest.mark.parametrize("name", HTTP_SERVICES)
def test_a_service_waits_for_its_servers_and_the_migration(services: dict[str, Any], name: str) -> None:
    conditions = {on: wait["condition"] for on, wait in services[name]["depends_on"].items()}
    assert conditions == {
        "postgres": "service_healthy",
        "rabbitmq": "service_healthy",
        "migrate": "service_completed_successfully",
    }


@pytest.mark.parametrize(("name", "port"), HTTP_SERVICES.items())
def test_health_is_asked_where_the_service_listens(services: dict[str, Any], name: str, port: int) -> None:
    assert f"http://127.0.0.1:{port}/readyz" in services[name]["healthcheck"]["test"][-1]
    assert services[name]["environment"][f"{name.upper()}_PORT"] == str(port)
    assert services[name]["environment"][f"{name.upper()}_HOST"] == "0.0.0.0"  # noqa: S104 - inside the container


def test_migrations_run_in_order_and_alone_have_the_operators_rights(services: dict[str, Any]) -> None:
    assert "for service in codes redemption webhooks dashboard" in services["migrate"]["command"][-1]
    for name in HTTP_SERVICES:
        assert not [key for key in services[name]["environment"] if "ADMIN" in key]
    for name in HTTP_SERVICES:
        for kind in ("DATABASE", "AMQP") if name in SERVICES else ("DATABASE",):
            assert f"{name.upper()}_ADMIN_{kind}_URL" in services["migrate"]["environment"]


def test_each_service_uses_its_own_accounts(services: dict[str, Any]) -> None:
    for name in HTTP_SERVICES:
        environment = services[name]["environment"]
        assert environment[f"{name.upper()}_DATABASE_URL"].startswith(f"postgresql://mintwire_{name}@")
    for name in SERVICES:
        environment = services[name]["environment"]
        assert environment[f"{name.upper()}_AMQP_URL"] == f"amqp://{name}@rabbitmq:5672/{topology.VHOST}"
        assert environment[f"{name.upper()}_BROKER_PASSWORD"] == development_password(name)


def test_the_receiver_is_the_one_private_host_that_webhooks_may_go_to(services: dict[str, Any]) -> None:
    assert services["webhooks"]["environment"]["WEBHOOKS_DEVELOPMENT_HOSTS"] == "receiver"
    assert services["demo"]["environment"]["RECEIVER_URL"] == "http://receiver:8009"
    assert services["receiver"]["command"][-1] == "0.0.0.0"  # noqa: S104 - inside the container


@pytest.mark.parametrize("password", ["p@ss/w:rd#1?%41 $HOME'\"", "ünï+&=", "%"])
def test_a_password_may_have_any_characters(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a part of a URL some of them would name another host, or cut it short."""
    own = {f"{name.upper()}_{kind}_PASSWORD": password for name in SERVICES for kind in ("DATABASE", "BROKER")}
    services = config("docker-compose.yml", environment=own)["services"]
    for name, value in services["codes"]["environment"].items():
        # Compose writes a dollar twice where it prints its configuration.
        monkeypatch.setenv(name, str(value).replace("$$", "$"))
    settings = CodesSettings()
    database, broker = (URL(url.get_secret_value()) for url in (settings.database_url, settings.amqp_url))
    assert (database.user, database.password, database.host) == ("mintwire_codes", password, "postgres")
    assert (broker.user, broker.password, broker.host) == ("codes", password, "rabbitmq")


def test_development_is_the_default_and_every_default_secret_is_marked(services: dict[str, Any]) -> None:
    """A service in production refuses what carries the mark; a secret without it would slip through."""
    for name in HTTP_SERVICES:
        environment = services[name]["environment"]
        assert environment[f"{name.upper()}_ENVIRONMENT"] == "development"
        for key, value in environment.items():
            # Where a service finds another is no secret.
            if key.endswith(("_PASSWORD", "_TOKEN", "_KEY", "_ACCOUNT_KEYS")) and key != "DASHBOARD_SMTP_PASSWORD":
                assert DEVELOPMENT_MARK in value, key


def test_the_services_believe_the_published_dashboard(services: dict[str, Any]) -> None:
    signer = read_signer(SecretStr(services["dashboard"]["environment"]["DASHBOARD_SIGNING_KEY"]))
    acting, now = Acting(uuid.uuid4(), "operator", "look", "request-1"), utc_now()
    for name in SERVICES:
        keys = AccountKeys.parse(services[name]["environment"][f"{name.upper()}_ACCOUNT_KEYS"])
        assert keys.read(signer.sign(acting, name, now, uuid.uuid4()), name, now) is not None


@pytest.mark.parametrize("name", SERVICES)
def test_the_published_key_has_the_length_of_a_key(services: dict[str, Any], name: str) -> None:
    key = services[name]["environment"][f"{name.upper()}_SECRET_KEY"]
    assert len(base64.urlsafe_b64decode(key)) == 32


@pytest.mark.parametrize("name", HTTP_SERVICES)
def test_a_service_in_production_refuses_the_published_secrets(services: dict[str, Any], name: str) -> None:
    environment = services[name]["environment"] | {f"{name.upper()}_ENVIRONMENT": "production"}
    environment["WEBHOOKS_DEVELOPMENT_HOSTS"] = ""
    environment["DASHBOARD_PUBLIC_URL"] = "https://dashboard.shop.example"
    argv = [sys.executable, "-m", f"services.{name}", "serve"]
    done = subprocess.run(
        argv, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "In production, these settings need their own values" in done.stdout + done.stderr
    for secret in ("database_password", "broker_password", "account_keys" if name in SERVICES else "signing_key"):
        if secret == "broker_password" and name not in SERVICES:
            continue
        assert secret in done.stdout + done.stderr
    assert DEVELOPMENT_MARK not in done.stdout + done.stderr  # the refusal repeats no secret


def test_production_names_every_secret_that_is_missing() -> None:
    done = run_config(*PRODUCTION)
    assert done.returncode != 0
    for name in required():
        assert f"required variable {name} is missing" in done.stderr


def test_production_has_no_published_secret_and_no_demo() -> None:
    own = dict.fromkeys(required(), "./own")
    services = config(*PRODUCTION, environment=own)["services"]
    assert set(services) == {"image", "migrate", *HTTP_SERVICES, *SERVERS, PROXY}
    for service in services.values():
        for key, value in service.get("environment", {}).items():
            assert DEVELOPMENT_MARK not in value, key
            assert not key.endswith("_ENVIRONMENT") or value == "production"
            assert not key.endswith("_DEVELOPMENT_HOSTS") or value == ""
        for volume in service.get("volumes", []):
            assert not volume["source"].endswith("deploy/rabbitmq/definitions.json")


def test_the_look_alike_override_keeps_the_rest_as_it_is() -> None:
    profiles = {"COMPOSE_PROFILES": "command"}
    plain = config("docker-compose.yml", environment=profiles)["services"]
    override = "deploy/lookalike/compose.override.yml"
    overridden = config("docker-compose.yml", override, environment=profiles)["services"]
    for service in (*plain.values(), *overridden.values()):
        service.pop("build", None)
    assert overridden == plain
