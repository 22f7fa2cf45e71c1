"""Settings that belong together: passwords beside URLs, and what production refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from yarl import URL

from services.webhooks.config import WebhooksSettings, split_hosts
from shared.raw_url import with_password

URLS = {
    "WEBHOOKS_DATABASE_URL": "postgresql://mintwire_webhooks@postgres:5432/mintwire",
    "WEBHOOKS_AMQP_URL": "amqp://webhooks@rabbitmq:5672/mintwire",
    "WEBHOOKS_SECRET_KEY": "A" * 43 + "=",
}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1))
def test_any_password_comes_through_a_url_as_it_was(password: str) -> None:
    url = with_password("amqp://codes@rabbitmq:5672/mintwire?x=1", password)
    parsed = URL(url)
    assert parsed.password == password
    assert (parsed.user, parsed.host, parsed.port, parsed.path) == ("codes", "rabbitmq", 5672, "/mintwire")
    assert parsed.query_string == "x=1"


def test_a_password_beside_the_url_takes_the_place_of_the_one_in_it() -> None:
    url = with_password("postgresql://codes:old@127.0.0.1/x", "n@w")
    assert url == "postgresql://codes:n%40w@127.0.0.1/x"


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1/x", "postgresql://:old@127.0.0.1/x"])
def test_a_password_without_a_user_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must name a user"):
        with_password(url, "secret")


def test_each_password_goes_into_its_own_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in URLS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEBHOOKS_ADMIN_DATABASE_URL", "postgresql://postgres@postgres/mintwire")
    monkeypatch.setenv("WEBHOOKS_ADMIN_AMQP_URL", "amqp://operator@rabbitmq/mintwire")
    for name in ("DATABASE", "BROKER", "ADMIN_DATABASE", "ADMIN_BROKER"):
        monkeypatch.setenv(f"WEBHOOKS_{name}_PASSWORD", name.lower())
    urls = WebhooksSettings().migration_urls()
    assert {name: URL(url).password for name, url in urls.items()} == {
        "database": "database",
        "broker": "broker",
        "admin_database": "admin_database",
        "admin_broker": "admin_broker",
    }


def test_development_hosts_are_refused_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in URLS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEBHOOKS_DEVELOPMENT_HOSTS", "receiver, [FD00::5] ,10.0.0.7")
    assert split_hosts(WebhooksSettings().development_hosts) == {"receiver", "fd00::5", "10.0.0.7"}
    monkeypatch.setenv("WEBHOOKS_ENVIRONMENT", "production")
    with pytest.raises(ValidationError, match="must be empty in production"):
        WebhooksSettings()


@pytest.mark.parametrize(
    "hosts", ["http://receiver", "receiver:8009", "a b", "*", "*.local", "127.1", "0x7f.1", "-a", "a."]
)
def test_what_is_no_host_is_refused(hosts: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        split_hosts(hosts)
