"""Account tokens: JWTs that live for a minute (RFC 9068), by which a dashboard states who acts. Signs and checks them.

Knows no database: whether program and partner exist is checked elsewhere. A refusal never says why.
"""

import base64
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared import strict_json
from shared.accounts import Account, Grade, Role, is_account_id
from shared.known_ids import NOBODY
from shared.modes import Mode, is_test
from shared.signing_keys import AcceptedKey, read_private, read_public_jwk, thumbprint

TYPE: Final = "at+jwt"
ALGORITHM: Final = "EdDSA"
LIFE_SECONDS: Final = 60
# How far the clocks of a dashboard and a service may differ.
LEEWAY_SECONDS: Final = 5
KEYS_PER_ISSUER: Final = 2
_LONGEST: Final = 2048
_DEPTH: Final = 2

# Strict where the library is lenient: its decoder skips characters outside the alphabet. 86 characters are 64 bytes,
# and only two bits of the last one count: otherwise the same signature would have several spellings.
_FORM: Final = re.compile(r"([A-Za-z0-9_-]{1,512}+)\.[A-Za-z0-9_-]{1,1424}+\.[A-Za-z0-9_-]{85}[AQgw]")
_JWS: Final = jwt.PyJWS(algorithms=[ALGORITHM])
_HEADER: Final = frozenset({"alg", "typ", "kid"})
# Whether a token with the role names a program, and a partner.
_NAMES: Final[Mapping[Role, tuple[bool, bool]]] = {
    "partner": (True, True),
    "merchant": (True, False),
    "operator": (False, False),
}


@dataclass(frozen=True, slots=True)
class Acting:
    """The claims of a token: the account, its role and grade, whom it acts for, the mode, and the request.

    A partner's account acts for a program and a partner, a merchant's for a program, an operator's for neither. The
    ids are those that callers know, in either mode.
    """

    account_id: uuid.UUID
    role: Role
    grade: Grade
    request_id: str
    program_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None
    mode: Mode = "live"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs for one dashboard; `key_id` is the name of the public key that the services know."""

    issuer: str
    key_id: str
    private_key: Ed25519PrivateKey

    @classmethod
    def parse(cls, text: str, issuer: str = "") -> "Signer":
        """Read a private key in one of the forms of `read_private`; without `kid` its id is its thumbprint.

        A JWK has its issuer, other forms need one here. Raises ValueError whose text contains none of the input.
        """
        read = read_private(text)
        if issuer and read.issuer not in ("", issuer):
            raise ValueError("has the iss of another issuer")
        if not (read.issuer or issuer):
            raise ValueError("names no issuer; give it in a JWK with iss, or set the issuer as well")
        return cls(read.issuer or issuer, read.key_id or thumbprint(read.key), read.key)

    def sign(self, acting: Acting, audience: str, now: datetime, token_id: uuid.UUID) -> str:
        """Return a token that one service accepts for a minute from now."""
        issued_at = int(now.timestamp())
        claims = {
            "iss": self.issuer,
            "client_id": self.issuer,
            "sub": str(acting.account_id),
            "aud": audience,
            "iat": issued_at,
            "exp": issued_at + LIFE_SECONDS,
            "jti": str(token_id),
            "role": acting.role,
            "grade": acting.grade,
            "mode": acting.mode,
            "request_id": acting.request_id,
        }
        if acting.program_id is not None:
            claims["program_id"] = str(acting.program_id)
        if acting.partner_id is not None:
            claims["partner_id"] = str(acting.partner_id)
        return _JWS.encode(orjson.dumps(claims), self.private_key, ALGORITHM, {"typ": TYPE, "kid": self.key_id})


class _Claims(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    iss: str
    client_id: str
    sub: str
    aud: str
    iat: int
    exp: int
    jti: Annotated[str, Field(min_length=1, max_length=64)]
    role: Role
    grade: Grade
    mode: Mode
    request_id: Annotated[str, Field(pattern=r"\A[A-Za-z0-9._-]{8,64}\z")]
    program_id: str | None = None
    partner_id: str | None = None


class AccountKeys:
    """The public keys of the dashboards that may issue tokens, each with the roles that it may state."""

    def __init__(self, keys: Mapping[str, AcceptedKey]) -> None:
        self._keys = keys

    def __bool__(self) -> bool:
        return bool(self._keys)

    @classmethod
    def parse(cls, text: str) -> "AccountKeys":
        """Read a JWK Set (RFC 7517) whose keys also have `iss` and `roles`; nothing means no keys.

        Raises ValueError whose text contains none of the input: that may be a private key by mistake.
        """
        if not text.strip():
            return cls({})
        try:
            document = strict_json.loads(text.encode(), max_bytes=64 * 1024)
        except strict_json.StrictJSONError:
            raise ValueError("must be a JWK Set in JSON") from None
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise ValueError('must be a JWK Set: {"keys": [...]}')  # noqa: TRY004 - pydantic reads ValueError
        keys: dict[str, AcceptedKey] = {}
        for number, each in enumerate(listed):
            key_id, key = read_public_jwk(each, number)
            if key_id in keys:
                raise ValueError(f"keys.{number}: another key has the same kid")
            keys[key_id] = key
        issuers = [key.issuer for key in keys.values()]
        if any(issuers.count(issuer) > KEYS_PER_ISSUER for issuer in issuers):
            raise ValueError(f"an issuer has at most {KEYS_PER_ISSUER} keys, the one in use and its successor")
        return cls(keys)

    def read(self, token: str, audience: str, now: datetime) -> tuple[Account, Acting] | None:
        """Return who acts, or None for anything but a live token of a known key for this audience.

        Every refusal costs one signature check, so that timing does not reveal how far a forger came.
        """
        key = self._key_of(token)
        if key is None:
            _check_signature(_DECOY, _DECOY_KEY)
            return None
        payload = _check_signature(token, key.public)
        if payload is None:
            return None
        return _stated(payload, key, audience, now)

    def _key_of(self, token: str) -> AcceptedKey | None:
        match = _FORM.fullmatch(token) if len(token) <= _LONGEST else None
        header = None if match is None else _header(match[1])
        # Other header members (crit, jwk, x5c, jku …) say how to check a token, which a token must not decide.
        if header is None or header.keys() != _HEADER or header["alg"] != ALGORITHM or header["typ"] != TYPE:
            return None
        key_id = header["kid"]
        return self._keys.get(key_id) if isinstance(key_id, str) else None


def _check_signature(token: str, key: Ed25519PublicKey) -> bytes | None:
    try:
        payload: bytes = _JWS.decode(token, key, algorithms=[ALGORITHM])
    except jwt.PyJWTError:
        return None
    return payload


def _stated(payload: bytes, key: AcceptedKey, audience: str, now: datetime) -> tuple[Account, Acting] | None:
    document = _json_of(payload)
    if document is None:
        return None
    try:
        claims = _Claims.model_validate(document)
    except ValidationError:
        return None
    if claims.iss != key.issuer or claims.client_id != key.issuer or claims.role not in key.roles:
        return None
    if claims.aud != audience or not _lives(claims, now.timestamp()):
        return None
    acting = _acting(claims)
    if acting is None:
        return None
    return Account(acting.account_id, claims.iss, claims.role, claims.grade, claims.request_id), acting


def _lives(claims: _Claims, now: float) -> bool:
    if not claims.iat < claims.exp <= claims.iat + LIFE_SECONDS:
        return False
    return claims.iat - LEEWAY_SECONDS <= now < claims.exp + LEEWAY_SECONDS


def _acting(claims: _Claims) -> Acting | None:
    account_id, program_id, partner_id = (_id(text) for text in (claims.sub, claims.program_id, claims.partner_id))
    if account_id is None or not is_account_id(account_id):
        return None
    # Exactly the ids that the role requires, each readable; and no caller knows the id of a test tenant.
    given = (claims.program_id is not None, claims.partner_id is not None)
    if given != _NAMES[claims.role] or given != (program_id is not None, partner_id is not None):
        return None
    if any(each is not None and is_test(each) for each in (program_id, partner_id)):
        return None
    # The operator is of live mode, and reaches test mode by parameters.
    if claims.role == "operator" and claims.mode != "live":
        return None
    return Acting(
        account_id=account_id,
        role=claims.role,
        grade=claims.grade,
        request_id=claims.request_id,
        program_id=program_id,
        partner_id=partner_id,
        mode=claims.mode,
    )


def _id(text: str | None) -> uuid.UUID | None:
    try:
        found = uuid.UUID(text)
    except (TypeError, ValueError):
        return None
    return found if str(found) == text else None


def _header(text: str) -> dict[str, Any] | None:
    try:
        return _json_of(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return None


def _json_of(raw: bytes) -> dict[str, Any] | None:
    try:
        found = strict_json.loads(raw, max_bytes=_LONGEST, max_depth=_DEPTH)
    except strict_json.StrictJSONError:
        return None
    return found if isinstance(found, dict) else None


# The token that is checked in place of one that names no known key.
_DECOY_PRIVATE: Final = Ed25519PrivateKey.generate()
_DECOY_KEY: Final = _DECOY_PRIVATE.public_key()
_DECOY: Final = Signer("decoy", "decoy", _DECOY_PRIVATE).sign(
    Acting(NOBODY, "merchant", "change", "decoy-request", NOBODY),
    "decoy",
    datetime.fromtimestamp(0, UTC),
    NOBODY,
)
