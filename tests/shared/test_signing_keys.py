"""A dashboard's key is read in each form that there is, and anything else is refused without being repeated."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from shared.account_tokens import AccountKeys, Signer
from shared.ids import new_id
from shared.signing_keys import private_jwk, public_jwk, thumbprint
from tests.accounts import key_set
from tests.shared.test_account_tokens import acting

KEY = Ed25519PrivateKey.generate()
SEED = KEY.private_bytes_raw()
ISSUER = "https://dashboard.example"
JWK = private_jwk(KEY, "2026-12", ISSUER)


def pem(key: Any = KEY, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes | None = None) -> str:
    hidden = NoEncryption() if password is None else BestAvailableEncryption(password)
    return str(key.private_bytes(Encoding.PEM, form, hidden).decode())


FORMS = {
    "PEM": pem(),
    "PEM on one line": pem().replace("\n", "\\n"),
    "PEM with the ends of lines of Windows": pem().replace("\n", "\r\n"),
    "base64": base64.b64encode(SEED).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(SEED).decode(),
    "base64 without padding": base64.urlsafe_b64encode(SEED).decode().rstrip("="),
    "with blanks around": f"\n {pem()} \n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_a_key_without_a_name_is_named_by_its_thumbprint_in_each_form(text: str) -> None:
    signer = Signer.parse(text, ISSUER)
    assert (signer.issuer, signer.key_id) == (ISSUER, thumbprint(KEY))
    assert signer.private_key.private_bytes_raw() == SEED


def test_a_thumbprint_is_that_of_the_standard() -> None:
    """RFC 8037, A.3."""
    raw = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    assert thumbprint(Ed25519PrivateKey.from_private_bytes(raw)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("issuer", ["", ISSUER])
def test_a_jwk_has_its_names_with_it(issuer: str) -> None:
    signer = Signer.parse(json.dumps(JWK), issuer)
    assert (signer.issuer, signer.key_id) == (ISSUER, "2026-12")
    keys = AccountKeys.parse(key_set(public_jwk(KEY, "2026-12", ISSUER, ["merchant"])))
    now = datetime.now(UTC)
    assert keys.read(signer.sign(acting(), "codes", now, new_id()), "codes", now) is not None


REFUSED: dict[str, tuple[str, str]] = {
    "nothing": ("", "must be a JWK, a key in PEM, or the base64"),
    "a word": ("secret-word", "must be a JWK, a key in PEM, or the base64"),
    "too short": (base64.b64encode(SEED[:31]).decode(), "must be a JWK"),
    "too long": (base64.b64encode(SEED * 2).decode(), "must be a JWK"),
    "in hex": (SEED.hex(), "must be a JWK"),
    "padded twice": (base64.b64encode(SEED).decode() + "=", "must be a JWK"),
    "a public key": (
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "is a public key; give the private one",
    ),
    "encrypted": (pem(password=b"word"), "is encrypted with a password"),
    "OpenSSH's": (pem(form=PrivateFormat.OpenSSH), "cannot be read as a private key in PEM"),
    "RSA": (pem(rsa.generate_private_key(65537, 2048)), "must be an Ed25519 key"),
    "of a curve": (pem(ec.generate_private_key(ec.SECP256R1())), "must be an Ed25519 key"),
    "PEM cut short": (pem()[:60], "cannot be read as a private key in PEM"),
    "PEM of nothing": ("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----", "cannot be read as a private key"),
    "no JSON": ("{", "must be a JWK in JSON"),
    "a set": (json.dumps({"keys": [JWK]}), "must be an Ed25519 key"),
    "another kind": (json.dumps({**JWK, "kty": "oct"}), "must be an Ed25519 key"),
    "another curve": (json.dumps({**JWK, "crv": "X25519"}), "must be an Ed25519 key"),
    "a public JWK": (json.dumps({name: JWK[name] for name in JWK if name != "d"}), "is a public key"),
    "without kid": (json.dumps({**JWK, "kid": ""}), "kid and iss must be texts"),
    "with a number as iss": (json.dumps({**JWK, "iss": 7}), "kid and iss must be texts"),
    "with a short d": (json.dumps({**JWK, "d": JWK["d"][:-1]}), "d must be 32 bytes in base64url"),
    "with another x": (json.dumps({**JWK, "x": "A" * 43}), "x is not the public half of d"),
}


@pytest.mark.parametrize(("text", "fault"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_in_words_that_repeat_none_of_it(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as refused:
        Signer.parse(text, ISSUER)
    assert not text or text not in str(refused.value)
    assert JWK["d"] not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_key_has_one_issuer() -> None:
    with pytest.raises(ValueError, match="names no issuer"):
        Signer.parse(pem())
    with pytest.raises(ValueError, match="iss of another issuer"):
        Signer.parse(json.dumps(JWK), "https://elsewhere.example")
