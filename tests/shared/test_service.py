"""A service as a command: what an operator is told, in one line and without a secret, when it cannot do its work."""

import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tests.databases import SERVICES, Database, migrate_environment
from tests.servers import ROOT, RunningServers

NOBODY_LISTENS = "127.0.0.1:1"


def run(service: str, command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command with this environment and nothing of the test's own."""
    return subprocess.run(
        [sys.executable, "-m", f"services.{service}", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def environment(empty_database: Database, servers: RunningServers, vhost: str) -> dict[str, str]:
    """What the codes service needs to migrate an empty database."""
    return migrate_environment("codes", empty_database, servers, vhost)


def refused(environment: dict[str, str], status: int = 1) -> str:
    """Return the one line that `migrate` ends with."""
    done = run("codes", "migrate", environment)
    assert done.returncode == status, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("codes: ")
    return line


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("kind", ["DATABASE", "AMQP"])
def test_migrating_needs_both_urls_of_the_operator(
    service: str, kind: str, database: Database, servers: RunningServers, vhost: str
) -> None:
    environment = migrate_environment(service, database, servers, vhost)
    del environment[f"{service.upper()}_ADMIN_{kind}_URL"]
    done = run(service, "migrate", environment)
    prefix = service.upper()
    expected = f"{service}: Set {prefix}_ADMIN_DATABASE_URL and {prefix}_ADMIN_AMQP_URL to migrate.\n"
    assert (done.returncode, done.stderr) == (2, expected)


@pytest.mark.parametrize("service", SERVICES)
def test_settings_that_are_missing_are_named(service: str) -> None:
    done = run(service, "serve", {})
    assert done.returncode == 2
    assert "database_url: Field required" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_away_is_one_line(environment: dict[str, str]) -> None:
    environment["CODES_ADMIN_DATABASE_URL"] = f"postgresql://operator:secret@{NOBODY_LISTENS}/x"
    line = refused(environment)
    assert "The database does not answer" in line
    assert "secret" not in line


def test_a_password_that_the_database_refuses_is_one_line(
    environment: dict[str, str], empty_database: Database
) -> None:
    assert run("codes", "migrate", environment).returncode == 0
    address = urlsplit(empty_database.codes).netloc.rpartition("@")[2]
    environment["CODES_ADMIN_DATABASE_URL"] = f"postgresql://mintwire_codes:secret@{address}/{empty_database.name}"
    line = refused(environment)
    assert "password authentication failed" in line
    assert "Check CODES_ADMIN_DATABASE_URL; with Docker Compose set POSTGRES_PASSWORD in .env" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("variable", "user", "in_compose"),
    [
        ("CODES_ADMIN_AMQP_URL", "operator", "OPERATOR_BROKER_PASSWORD"),
        ("CODES_AMQP_URL", "codes", "CODES_BROKER_PASSWORD"),
    ],
)
def test_a_password_that_the_broker_refuses_is_one_line_that_names_its_variable(
    variable: str, user: str, in_compose: str, environment: dict[str, str], servers: RunningServers, vhost: str
) -> None:
    """The service's own would otherwise show only in its log, after everything has started."""
    environment[variable] = f"amqp://{user}:secret@{servers.broker_address}/{vhost}"
    line = refused(environment)
    assert "The broker refuses the log-in" in line
    assert f"Check {variable}; with Docker Compose {in_compose} in .env" in line
    assert "secret" not in line


def test_an_operator_who_may_not_is_one_line(environment: dict[str, str], empty_database: Database) -> None:
    assert run("codes", "migrate", environment).returncode == 0
    environment["CODES_ADMIN_DATABASE_URL"] = empty_database.codes
    assert "The database refuses: permission denied" in refused(environment)


def test_a_database_that_does_not_exist_is_one_line(environment: dict[str, str]) -> None:
    environment["CODES_ADMIN_DATABASE_URL"] += "_missing"
    assert "does not exist" in refused(environment)


def test_a_url_that_cannot_be_read_is_not_quoted(environment: dict[str, str]) -> None:
    environment["CODES_ADMIN_DATABASE_URL"] = "postgresql://operator:sec/ret@127.0.0.1/x"
    line = refused(environment)
    assert "A database URL cannot be read." in line
    assert "sec" not in line


@pytest.mark.parametrize("url", ["nonsense", "amqp://operator:sec/ret@127.0.0.1/x"])
def test_a_url_of_the_broker_that_cannot_be_read_is_not_quoted(environment: dict[str, str], url: str) -> None:
    environment["CODES_ADMIN_AMQP_URL"] = url
    line = refused(environment)
    assert "The broker's URL cannot be read." in line
    assert "sec" not in line


def test_the_role_of_another_service_is_one_line(environment: dict[str, str], empty_database: Database) -> None:
    environment["CODES_DATABASE_URL"] = empty_database.webhooks
    assert "must log in as mintwire_codes" in refused(environment)


def test_a_broker_that_is_away_is_one_line(environment: dict[str, str]) -> None:
    environment["CODES_ADMIN_AMQP_URL"] = f"amqp://operator:secret@{NOBODY_LISTENS}/x"
    line = refused(environment)
    assert "cannot migrate" in line
    assert "secret" not in line


def test_a_password_that_the_broker_refuses_is_one_line(environment: dict[str, str]) -> None:
    url = urlsplit(environment["CODES_ADMIN_AMQP_URL"])
    wrong = url._replace(netloc=f"{url.username}:secret@{url.netloc.rpartition('@')[2]}")
    environment["CODES_ADMIN_AMQP_URL"] = wrong.geturl()
    line = refused(environment)
    assert "ACCESS_REFUSED" in line
    assert "secret" not in line


def test_a_broker_user_who_may_not_declare_is_one_line(environment: dict[str, str]) -> None:
    environment["CODES_ADMIN_AMQP_URL"] = environment["CODES_AMQP_URL"]
    assert "ACCESS_REFUSED" in refused(environment)
