"""The published rules are the ones that the service follows."""

import pytest
from pydantic import ValidationError

from services.webhooks.config import WebhooksSettings, split_addresses
from tests.services.webhooks.conftest import Service


async def test_the_rules_are_told_to_everybody(service: Service) -> None:
    async with service.http.get("/v1/meta") as response:
        assert (response.status, response.headers["Cache-Control"]) == (200, "public, max-age=300")
        rules = (await response.json())["data"]
    assert rules["schedule"]["seconds"] == [0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert (rules["schedule"]["jitter_percent"], rules["schedule"]["ends_after_seconds"]) == (20, 96 * 3600)
    assert rules["timeouts"] == {"default_seconds": 15, "shortest_seconds": 5, "longest_seconds": 30}
    assert rules["answers"] == {"gone": [410], "overloaded": [429, 502, 503, 504]}
    assert rules["disabling"]["after_seconds"] == 5 * 86_400
    assert rules["disabling"]["warnings_percent"] == [50, 90]
    assert [each["version"] for each in rules["signing"]] == ["v1", "v1a"]
    assert rules["formats"] == ["flat", "standard", "thin", "cloudevents"]
    assert rules["limits"]["payload_bytes"] == 262_144
    assert rules["retention"] == {
        "payloads_days": 30,
        "attempts_days": 30,
        "deliveries_days": 90,
        "own_payloads_days": [5, 90],
    }
    assert rules["egress_addresses"] == ["192.0.2.7/32"]


def test_addresses_are_read_and_wrong_ones_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert split_addresses(" 192.0.2.7, 2001:db8::/48 ,") == ("192.0.2.7/32", "2001:db8::/48")
    for name, value in (
        ("DATABASE_URL", "x"),
        ("AMQP_URL", "x"),
        ("SECRET_KEY", "webhooks-secret-key-development-only-00000A="),
    ):
        monkeypatch.setenv(f"WEBHOOKS_{name}", value)
    assert WebhooksSettings().egress_addresses == ""
    monkeypatch.setenv("WEBHOOKS_EGRESS_ADDRESSES", "shop.example")
    with pytest.raises(ValidationError):
        WebhooksSettings()
