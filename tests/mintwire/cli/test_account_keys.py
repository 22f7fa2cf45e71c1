"""Key pairs of dashboards by the command: both sides take what it prints, and a second key stands beside the first."""

import json
import shlex

import pytest

from shared.account_tokens import AccountKeys, Signer
from shared.clock import utc_now
from shared.ids import new_id
from tests.mintwire.cli.conftest import Mintwire
from tests.shared.test_account_tokens import acting

ISSUER = ("--issuer", "https://dashboard.shop.example")
SERVICES = ("CODES_ACCOUNT_KEYS", "REDEMPTION_ACCOUNT_KEYS", "WEBHOOKS_ACCOUNT_KEYS")


def is_taken(private: str, public: str, role: str = "merchant") -> bool:
    now = utc_now()
    token = Signer.parse(private).sign(acting(role), "codes", now, new_id())  # type: ignore[arg-type]
    return AccountKeys.parse(public).read(token, "codes", now) is not None


@pytest.mark.parametrize("roles", [(), ("operator",), ("merchant", "operator")], ids=" ".join)
async def test_both_sides_take_what_it_prints(bare: Mintwire, roles: tuple[str, ...]) -> None:
    made = await bare("account-key", "new", *ISSUER, *(word for role in roles for word in ("--role", role)))
    lines = [line.partition("=") for line in made.out.splitlines() if not line.startswith("#")]
    settings = {name: " ".join(shlex.split(value)) for name, _, value in lines}
    assert settings.keys() == {"DASHBOARD_SIGNING_KEY", *SERVICES}
    for role in ("partner", "merchant", "operator"):
        for name in SERVICES:
            is_stated = role in (roles or ("partner", "merchant"))
            assert is_taken(settings["DASHBOARD_SIGNING_KEY"], settings[name], role) == is_stated
    assert all('"d"' not in settings[name] for name in SERVICES)


async def test_a_second_key_stands_beside_the_first(bare: Mintwire) -> None:
    first = await bare.json("account-key", "new", *ISSUER)
    beside = ("--beside", first["CODES_ACCOUNT_KEYS"])
    second = await bare.json("account-key", "new", *ISSUER, *beside, "--key-id", "2027-01")
    for private in (first, second):
        assert is_taken(private["DASHBOARD_SIGNING_KEY"], second["CODES_ACCOUNT_KEYS"])
    assert Signer.parse(second["DASHBOARD_SIGNING_KEY"]).key_id == "2027-01"
    third = await bare("account-key", "new", *ISSUER, "--beside", second["CODES_ACCOUNT_KEYS"], code=2)
    assert "an issuer has at most 2 keys" in third.err


async def test_a_private_key_beside_is_refused_and_not_repeated(bare: Mintwire) -> None:
    made = await bare.json("account-key", "new", *ISSUER)
    private = json.loads(made["DASHBOARD_SIGNING_KEY"])
    refused = await bare("account-key", "new", *ISSUER, "--beside", json.dumps({"keys": [private]}), code=2)
    assert "is a private key" in refused.err
    assert private["d"] not in refused.err


async def test_what_the_services_would_refuse_is_not_printed(bare: Mintwire) -> None:
    refused = await bare("account-key", "new", "--issuer", "x" * 256, code=2)
    assert (refused.out, "iss must be a text" in refused.err) == ("", True)
