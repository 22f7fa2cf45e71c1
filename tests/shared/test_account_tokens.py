"""Account tokens: what a dashboard signs a service reads, and nothing else is read."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared import account_tokens
from shared.account_tokens import AccountKeys, Acting, Signer
from shared.accounts import SCOPES, Account, Grade, Role
from shared.api_keys import PARTNER_SCOPES, PROGRAM_SCOPES
from shared.ids import new_id
from tests.accounts import DASHBOARD, b64, claims_of, forged, key_set, public_jwk

NOW = datetime(2026, 12, 1, 9, 30, 0, 250_000, tzinfo=UTC)
PROGRAM, PARTNER = new_id(), new_id()
OF_ROLE: dict[Role, tuple[uuid.UUID | None, uuid.UUID | None]] = {
    "partner": (PROGRAM, PARTNER),
    "merchant": (PROGRAM, None),
    "operator": (None, None),
}


def acting(role: Role = "merchant", grade: Grade = "change") -> Acting:
    program_id, partner_id = OF_ROLE[role]
    return Acting(uuid.uuid4(), role, grade, "a.request_1", program_id, partner_id)


@pytest.mark.parametrize(("role", "grade"), SCOPES)
def test_what_is_signed_is_read(role: Role, grade: Grade) -> None:
    said = acting(role, grade)
    token = DASHBOARD.signer.sign(said, "codes", NOW, new_id())
    account = Account(said.account_id, "https://dashboard.example", role, grade, "a.request_1")
    assert DASHBOARD.keys.read(token, "codes", NOW) == (account, said)


def test_a_token_keeps_to_the_profile() -> None:
    """RFC 9068: the type, and every claim that it asks for."""
    token_id = new_id()
    token = DASHBOARD.signer.sign(acting(), "webhooks", NOW, token_id)
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "at+jwt", "kid": "2026-12"}
    claims = claims_of(token)
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= claims.keys()
    assert (claims["aud"], claims["exp"] - claims["iat"], claims["jti"]) == ("webhooks", 60, str(token_id))


@pytest.mark.parametrize(
    ("seconds", "is_read"), [(-5.3, False), (-5.2, True), (0, True), (64.7, True), (64.8, False), (3600, False)]
)
def test_it_lives_for_a_minute_and_what_clocks_may_differ(seconds: float, is_read: bool) -> None:
    token = DASHBOARD.signer.sign(acting(), "codes", NOW, new_id())
    assert (DASHBOARD.keys.read(token, "codes", NOW + timedelta(seconds=seconds)) is not None) == is_read


def test_nothing_forged_is_read_and_each_costs_one_check_of_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the time of a refusal would tell how far a forger came."""
    checks: list[str] = []
    check = account_tokens._check_signature

    def counted(token: str, key: Any) -> bytes | None:
        checks.append(token)
        return check(token, key)

    monkeypatch.setattr(account_tokens, "_check_signature", counted)
    tokens = forged(DASHBOARD.signer.sign(acting(), "codes", NOW, new_id()))
    assert len(tokens) >= 40
    for number, (name, token) in enumerate(tokens.items(), 1):
        assert DASHBOARD.keys.read(token, "codes", NOW) is None, name
        assert len(checks) == number, name


def test_what_is_forged_differs_from_what_is_good_in_what_it_says_only() -> None:
    """A list of forms that are refused for another reason would prove nothing: those that only reword are read."""
    token = DASHBOARD.signer.sign(acting(), "codes", NOW, new_id())
    header, payload = jwt.get_unverified_header(token), json.dumps(claims_of(token)).encode()
    head = f"{b64(json.dumps(header).encode())}.{b64(payload)}"
    again = f"{head}.{b64(DASHBOARD.signer.private_key.sign(head.encode()))}"
    assert again != token
    assert DASHBOARD.keys.read(again, "codes", NOW) is not None


def test_a_key_states_the_roles_that_it_was_given() -> None:
    signer = DASHBOARD.partners_only
    for role in OF_ROLE:
        token = signer.sign(acting(role), "codes", NOW, new_id())
        assert (DASHBOARD.keys.read(token, "codes", NOW) is not None) == (role == "partner")


def test_two_keys_of_one_dashboard_live_side_by_side() -> None:
    old = DASHBOARD.signer
    new = Signer(old.issuer, "2027-01", Ed25519PrivateKey.generate())
    for given, good in (([old], {old}), ([old, new], {old, new}), ([new], {new})):
        keys = AccountKeys.parse(key_set(*map(public_jwk, given)))
        for signer in (old, new):
            token = signer.sign(acting(), "codes", NOW, new_id())
            assert (keys.read(token, "codes", NOW) is not None) == (signer in good)


@pytest.mark.parametrize("text", ["", "  ", key_set()])
def test_without_keys_nobody_is_read(text: str) -> None:
    keys = AccountKeys.parse(text)
    assert not keys
    assert keys.read(DASHBOARD.signer.sign(acting(), "codes", NOW, new_id()), "codes", NOW) is None


GOOD = public_jwk(DASHBOARD.signer)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "must be a JWK Set in JSON"),
        ("[]", "must be a JWK Set"),
        ('{"keys": {}}', "must be a JWK Set"),
        (key_set({}), "keys.0: must be an Ed25519 key"),
        ('{"keys": [1]}', "keys.0: must be an object"),
        (key_set(GOOD, GOOD), "keys.1: another key has the same kid"),
        (key_set({**GOOD, "kty": "oct"}), "keys.0: must be an Ed25519 key"),
        (key_set({**GOOD, "crv": "Ed448"}), "keys.0: must be an Ed25519 key"),
        (key_set({**GOOD, "use": "enc"}), "keys.0: must be an Ed25519 key"),
        (key_set({**GOOD, "d": "c2VjcmV0"}), "keys.0: is a private key"),
        (key_set({**GOOD, "kid": ""}), "keys.0: kid must be a text"),
        (key_set({**GOOD, "iss": None}), "keys.0: iss must be a text"),
        (key_set({**GOOD, "roles": []}), "keys.0: roles must list some of partner, merchant, operator"),
        (key_set({**GOOD, "roles": ["owner"]}), "keys.0: roles must list some of partner, merchant, operator"),
        (key_set({**GOOD, "x": "AAAA"}), "keys.0: x must be 32 bytes in base64url"),
        (key_set(GOOD, {**GOOD, "kid": "2"}, {**GOOD, "kid": "3"}), "an issuer has at most 2 keys"),
    ],
)
def test_a_set_that_cannot_be_meant_is_refused_without_being_repeated(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault.replace(".", r"\.")) as refused:
        AccountKeys.parse(text)
    assert "c2VjcmV0" not in str(refused.value)


def test_no_role_has_more_than_a_key_of_its_owner_can_have() -> None:
    for (role, grade), scopes in SCOPES.items():
        most = {"partner": PARTNER_SCOPES, "merchant": PROGRAM_SCOPES, "operator": frozenset()}[role]
        assert scopes == most if grade == "change" else scopes <= most
