"""The key pairs of dashboards (Ed25519): the private half as a setting, the public half as a JWK. Signs nothing.

The text of an error never contains any of what was read, for that may be a private key.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, get_args

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from shared import strict_json
from shared.accounts import Role

_ROLES: Final = frozenset(get_args(Role))
# 32 bytes: with or without padding, in either alphabet.
_KEY: Final = re.compile(r"[A-Za-z0-9_+/-]{43}=?")
_PEM: Final = "-----BEGIN "
_LONGEST: Final = 4096


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key, and the id and the issuer that its JWK has; neither for one in another form."""

    key: Ed25519PrivateKey
    key_id: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class AcceptedKey:
    """A public key that a service accepts: whose it is, and the roles that it may state."""

    issuer: str
    roles: frozenset[str]
    public: Ed25519PublicKey


def read_private(text: str) -> PrivateKey:
    r"""Read a private key: a JWK (RFC 8037), PEM (PKCS #8), or the base64 of its 32 bytes.

    Line ends in PEM may be written `\n`, since many files of settings have one line per setting. Raises ValueError for
    anything else.
    """
    text = text.strip()
    if text.startswith("{"):
        return _of_jwk(text)
    if text.startswith(_PEM):
        return PrivateKey(_of_pem(text.replace("\\n", "\n")))
    if not _KEY.fullmatch(text):
        raise ValueError("must be a JWK, a key in PEM, or the base64 of the 32 bytes of an Ed25519 key")
    return PrivateKey(_of_text(text))


def private_jwk(key: Ed25519PrivateKey, key_id: str, issuer: str) -> dict[str, str]:
    """Return a private key as `read_private` takes it whole."""
    return {**_public(key), "d": _base64(key.private_bytes_raw()), "kid": key_id, "iss": issuer}


def public_jwk(key: Ed25519PrivateKey, key_id: str, issuer: str, roles: Iterable[str]) -> dict[str, Any]:
    """Return the public half of a key as services take it, with the roles that it may state."""
    return {**_public(key), "kid": key_id, "iss": issuer, "roles": list(roles)}


def thumbprint(key: Ed25519PrivateKey) -> str:
    """Return the id of a key that was given none: that of RFC 7638, the same for each of its forms."""
    return _base64(hashlib.sha256(orjson.dumps(_public(key), option=orjson.OPT_SORT_KEYS)).digest())


def read_public_jwk(jwk: Any, number: int) -> tuple[str, AcceptedKey]:
    """Read one key of a JWK Set, with its id; raises ValueError that says which key of the set is meant."""

    def fault(text: str) -> ValueError:
        return ValueError(f"keys.{number}: {text}")

    if not isinstance(jwk, dict):
        raise fault("must be an object")
    if "d" in jwk:
        raise fault("is a private key; give the public one, and make a new pair, because this one is exposed")
    if not _is_ed25519(jwk) or jwk.get("use", "sig") != "sig":
        raise fault("must be an Ed25519 key for signatures (kty OKP, crv Ed25519)")
    for name in ("kid", "iss"):
        if not isinstance(jwk.get(name), str) or not 1 <= len(jwk[name]) <= 255:
            raise fault(f"{name} must be a text")
    roles = jwk.get("roles")
    if not isinstance(roles, list) or not roles or not all(isinstance(role, str) and role in _ROLES for role in roles):
        raise fault(f"roles must list some of {', '.join(get_args(Role))}")
    if not isinstance(text := jwk.get("x"), str) or (raw := _bytes_of(text)) is None:
        raise fault("x must be 32 bytes in base64url")
    return jwk["kid"], AcceptedKey(jwk["iss"], frozenset(roles), Ed25519PublicKey.from_public_bytes(raw))


def _of_jwk(text: str) -> PrivateKey:
    try:
        jwk = strict_json.loads(text.encode(), max_bytes=_LONGEST)
    except strict_json.StrictJSONError:
        raise ValueError("must be a JWK in JSON") from None
    if not isinstance(jwk, dict) or not _is_ed25519(jwk):
        raise ValueError("must be an Ed25519 key (kty OKP, crv Ed25519)")
    if "d" not in jwk:
        raise ValueError("is a public key; give the private one")
    key_id, issuer, seed = (jwk.get(name) for name in ("kid", "iss", "d"))
    if not (isinstance(key_id, str) and isinstance(issuer, str) and key_id and issuer):
        raise ValueError("kid and iss must be texts")
    if not isinstance(seed, str) or _bytes_of(seed) is None:
        raise ValueError("d must be 32 bytes in base64url")
    key = _of_text(seed)
    if jwk.get("x", _public(key)["x"]) != _public(key)["x"]:
        raise ValueError("x is not the public half of d")
    return PrivateKey(key, key_id, issuer)


def _of_pem(text: str) -> Ed25519PrivateKey:
    kind = text.removeprefix(_PEM).partition("-----")[0]
    if "PUBLIC" in kind or "CERTIFICATE" in kind:
        raise ValueError("is a public key; give the private one")
    if "ENCRYPTED" in kind:
        raise ValueError("is encrypted with a password; give the key without one")
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("cannot be read as a private key in PEM (PKCS #8)") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("must be an Ed25519 key")  # noqa: TRY004 - pydantic reads ValueError
    return key


def _of_text(text: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(_padded(text)))


def _padded(text: str) -> str:
    return text.replace("+", "-").replace("/", "_").rstrip("=") + "="


def _bytes_of(text: str) -> bytes | None:
    """Return the 32 bytes that a member of a JWK has; those are in base64url without padding."""
    if not _KEY.fullmatch(text) or {"+", "/", "="}.intersection(text):
        return None
    return base64.urlsafe_b64decode(text + "=")


def _is_ed25519(jwk: dict[str, Any]) -> bool:
    return jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519"


def _public(key: Ed25519PrivateKey) -> dict[str, str]:
    return {"crv": "Ed25519", "kty": "OKP", "x": _base64(key.public_key().public_bytes_raw())}


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
