"""A dashboard for tests, which signs for the services as a real one does, and forged tokens that none may believe."""

import base64
import hashlib
import hmac
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared import signing_keys
from shared.account_tokens import AccountKeys, Acting, Signer
from shared.accounts import SCOPES, Grade, Role
from shared.modes import Mode
from shared.web import Route

ALL_ROLES: Final = ("partner", "merchant", "operator")


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw_public(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


def public_jwk(signer: Signer, *roles: str) -> dict[str, Any]:
    """Return a signer's public key as the services are given it."""
    return signing_keys.public_jwk(signer.private_key, signer.key_id, signer.issuer, roles or ALL_ROLES)


def key_set(*keys: Mapping[str, Any]) -> str:
    return json.dumps({"keys": keys})


@dataclass(frozen=True)
class Dashboard:
    """Signs for accounts; its other key may state partners' accounts only."""

    signer: Signer = field(
        default_factory=lambda: Signer("https://dashboard.example", "2026-12", Ed25519PrivateKey.generate())
    )
    partners_only: Signer = field(
        default_factory=lambda: Signer("https://partners.example", "partners-1", Ed25519PrivateKey.generate())
    )

    @property
    def jwks(self) -> str:
        return key_set(public_jwk(self.signer), public_jwk(self.partners_only, "partner"))

    @property
    def keys(self) -> AccountKeys:
        return AccountKeys.parse(self.jwks)

    def token(
        self,
        audience: str,
        now: datetime,
        role: Role = "merchant",
        grade: Grade = "change",
        *,
        program_id: uuid.UUID | str | None = None,
        partner_id: uuid.UUID | str | None = None,
        mode: Mode = "live",
        account_id: uuid.UUID | None = None,
        request_id: str = "request-of-the-dashboard",
    ) -> str:
        """Return a token of an account, a new one unless it is named."""
        acting = Acting(account_id or uuid.uuid4(), role, grade, request_id, _id(program_id), _id(partner_id), mode)
        return self.signer.sign(acting, audience, now, uuid.uuid4())


DASHBOARD: Final = Dashboard()


# How a route may refuse a good token.
REFUSALS: Final = ("scope_missing", "operator_only", "look_only")


def expected_refusal(route: Route, role: Role, grade: Grade, scopes: frozenset[str]) -> str | None:
    """Return with which code a route refuses a role and grade that has these scopes; None if it lets it in."""
    is_for_operator = route.security == "operator" or route.operator_allowed
    if role == "operator":
        if not is_for_operator:
            return "scope_missing"
    elif route.security == "operator":
        return "operator_only"
    elif scopes.isdisjoint(route.scopes):
        return "scope_missing"
    looks = {"POST /v1/validations", "POST /v1/validations/drafts", "POST /v1/webhooks/verify-signature"}
    # Files with customers' data are for who may change.
    files = ("/promotion-codes/export", "/jobs/{job_id}/result", "/jobs/{job_id}/errors", "/jobs/{job_id}/file")
    if role == "partner" and grade == "change" and route.path == "/v1/webhooks/messages/{message_id}/content":
        # Found out by the handler: the program alone may forget what was sent.
        return "scope_missing"
    is_look = (route.method == "GET" and not route.path.endswith(files)) or f"{route.method} {route.path}" in looks
    return None if is_look or grade == "change" else "look_only"


async def walk_table(
    routes: Iterable[Route], ask: Callable[[Route, str], Awaitable[Any]], token: Callable[[Role, Grade], str]
) -> Counter[str]:
    """Ask every route as every role and grade, hold the answer against the table, and count the results.

    `ask` returns a reply with `status` and `body`; the ids that it fills in are of nothing.
    """
    counts: Counter[str] = Counter()
    for (role, grade), scopes in SCOPES.items():
        for route in routes:
            if route.security == "none":
                continue
            reply = await ask(route, token(role, grade))
            code = (reply.body.get("error_code") or reply.body.get("code")) if reply.status in (401, 403) else None
            expected = expected_refusal(route, role, grade, scopes)
            assert (code if code in REFUSALS else None) == expected, (route.method, route.path, role, grade, reply.body)
            assert reply.status not in (401, 500), (route.method, route.path, role, grade, reply.body)
            counts[expected or "let in"] += 1
    return counts


def whole(reply: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return all of a refusal but for what is of its request and its moment."""
    body = {name: value for name, value in reply.body.items() if name != "request_id"}
    headers = {name: value for name, value in reply.headers.items() if name.lower() not in ("x-request-id", "date")}
    return reply.status, body, headers


def _id(given: uuid.UUID | str | None) -> uuid.UUID | None:
    return uuid.UUID(given) if isinstance(given, str) else given


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def signed(header: Mapping[str, Any], payload: bytes, key: Ed25519PrivateKey | None = None) -> str:
    """Return a JWS with a valid signature, whatever its parts are."""
    head = f"{b64(json.dumps(header).encode())}.{b64(payload)}"
    return f"{head}.{b64((key or DASHBOARD.signer.private_key).sign(head.encode()))}"


def forged(token: str) -> dict[str, str]:
    """Return what nobody may be let in by, each made from a token that is good, by what is wrong with it."""
    good = claims_of(token)
    header = {"alg": "EdDSA", "typ": "at+jwt", "kid": DASHBOARD.signer.key_id}
    secret = raw_public(DASHBOARD.signer.private_key)
    other = Ed25519PrivateKey.generate()
    first, second, third = token.split(".")

    def stated(**changes: Any) -> str:
        return signed(header, json.dumps({**good, **changes}).encode())

    def without(name: str) -> str:
        return signed(header, json.dumps({each: value for each, value in good.items() if each != name}).encode())

    def headed(payload: bytes | None = None, **changes: Any) -> str:
        members = {name: value for name, value in {**header, **changes}.items() if value is not None}
        return signed(members, json.dumps(good).encode() if payload is None else payload)

    def hmac_signed(key: bytes) -> str:
        head = f"{b64(json.dumps({**header, 'alg': 'HS256'}).encode())}.{second}"
        return f"{head}.{b64(hmac.new(key, head.encode(), hashlib.sha256).digest())}"

    def signed_by(key: Any, algorithm: str) -> str:
        return jwt.PyJWS().encode(json.dumps(good).encode(), key, algorithm, {"typ": "at+jwt", "kid": header["kid"]})

    def of_header(text: str) -> str:
        head = f"{b64(text.encode())}.{second}"
        return f"{head}.{b64(DASHBOARD.signer.private_key.sign(head.encode()))}"

    pem = DASHBOARD.signer.private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    none = b64(json.dumps({**header, "alg": "none"}).encode())
    own_key = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw_public(other))}
    twice = json.dumps(good)[:-1] + ', "role": "operator"}'
    less = DASHBOARD.partners_only
    operators = {name: value for name, value in good.items() if name not in ("program_id", "partner_id")} | {
        "role": "operator"
    }
    tampered = b64(json.dumps({**good, "role": "operator"}).encode())
    return {
        "algorithm none, no signature": f"{none}.{second}.",
        "algorithm none, some signature": f"{none}.{second}.{third}",
        "HS256 with the public key": hmac_signed(secret),
        "HS256 with the public key as PEM": hmac_signed(pem),
        "algorithm None": f"{b64(json.dumps({**header, 'alg': 'None'}).encode())}.{second}.",
        "algorithm nOnE": f"{b64(json.dumps({**header, 'alg': 'nOnE'}).encode())}.{second}.{third}",
        "RS256": signed_by(rsa.generate_private_key(65537, 2048), "RS256"),
        "RS256 under a name of the other": headed(alg="RS256"),
        "ES256": signed_by(ec.generate_private_key(ec.SECP256R1()), "ES256"),
        "another curve of Edwards": signed_by(Ed448PrivateKey.generate(), "EdDSA"),
        "algorithm in other letters": headed(alg="eddsa"),
        "algorithm by its newer name": headed(alg="Ed25519"),
        "no algorithm": headed(alg=None),
        "another service's": stated(aud="another"),
        "several services'": stated(aud=[good["aud"]]),
        "expired": stated(iat=good["iat"] - 66, exp=good["exp"] - 66),
        "of the future": stated(iat=good["iat"] + 66, exp=good["exp"] + 66),
        "not to be used yet": stated(nbf=good["iat"] + 60),
        "lives for an hour": stated(exp=good["iat"] + 3600),
        "lives too long": stated(exp=good["exp"] + 1),
        "ends before it begins": stated(exp=good["iat"] - 1),
        "ends never": stated(exp=10**300),
        "of an unknown key": headed(kid="2019-01"),
        "of no key": headed(kid=None),
        "of a key that is no text": headed(kid=7),
        "of a key that is a path": headed(kid="../../../../dev/null"),
        "of a key that is SQL": headed(kid="2026-12' OR '1'='1"),
        "of a key with a NUL behind": headed(kid=DASHBOARD.signer.key_id + "\x00"),
        "of a key that is a member of objects": headed(kid="__proto__"),
        "of another dashboard's key": headed(kid=DASHBOARD.partners_only.key_id),
        "signed by another": signed(header, json.dumps(good).encode(), other),
        "a role that this key may not state": signed(
            {**header, "kid": less.key_id},
            json.dumps({**operators, "iss": less.issuer, "client_id": less.issuer}).encode(),
            less.private_key,
        ),
        **{f"without {name}": without(name) for name in good},
        **{f"{name} in a list": stated(**{name: [value]}) for name, value in good.items()},
        **{f"{name} null": stated(**{name: None}) for name in good},
        **{f"{name} empty": stated(**{name: "" if isinstance(value, str) else 0}) for name, value in good.items()},
        "another issuer": stated(iss="https://elsewhere.example"),
        "another client": stated(client_id="elsewhere"),
        "an unknown role": stated(role="owner"),
        "an unknown grade": stated(grade="all"),
        "an unknown mode": stated(mode="sandbox"),
        "an unknown claim": stated(scope="manage"),
        "times as texts": stated(iat=str(good["iat"]), exp=str(good["exp"])),
        "times with fractions": stated(iat=good["iat"] + 0.5),
        "a time that is true": stated(iat=True),
        "an account that is no id": stated(sub="admin"),
        "an account that is one of our ids": stated(sub="019a0000-0000-7000-8000-000000000001"),
        "an account in braces": stated(sub="{" + good["sub"] + "}"),
        "a program that is no id": stated(program_id=["x"]),
        "a test tenant's id": stated(program_id="019a0000-0000-7000-c000-000000000001"),
        "a partner for a merchant": stated(role="merchant", partner_id=str(uuid.uuid4())),
        "an operator with a program": stated(role="operator", program_id=str(uuid.uuid4())),
        "a request that is no id": stated(request_id="line\nbreak"),
        "a member twice": signed(header, twice.encode()),
        "changed and not signed again": f"{first}.{tampered}.{third}",
        "no object": headed(b"[]"),
        "no JSON": headed(b"\xff\xfe"),
        "nested deep": headed(b"[" * 400 + b"]" * 400),
        "giant": stated(jti="x" * 4000),
        "giant within the limits of a claim": stated(request_id="x" * 65),
        "inside another token": headed(token.encode()),
        "a critical extension": headed(crit=["exp"]),
        "unencoded, by extension": headed(crit=["b64"], b64=False),
        "its own key in the header": signed({**header, "jwk": own_key}, json.dumps(good).encode(), other),
        "its own certificate in the header": headed(x5c=["MIIB"]),
        "a certificate to be fetched": headed(x5u="https://elsewhere.example/certificate"),
        "a member of the header twice": of_header(json.dumps(header)[:-1] + ', "kid": "2026-12"}'),
        "a content type": headed(cty="JWT"),
        "a key to be fetched": headed(jku="https://elsewhere.example/keys"),
        "compressed": headed(zip="DEF"),
        "of the type of other tokens": headed(typ="JWT"),
        "of no type": headed(typ=None),
        "of the type by its whole name": headed(typ="application/at+jwt"),
        "two signatures": f"{token}.{third}",
        "a signature of nothing": f"{first}.{second}.",
        "detached": f"{first}..{third}",
        "encrypted": ".".join([b64(b'{"alg":"dir","enc":"A256GCM"}'), "", b64(b"i" * 12), second, b64(b"t" * 16)]),
        "cut in the middle": token[: len(token) // 2],
        "without its first part": f"{second}.{third}",
        "in the other base64": token.replace("-", "+").replace("_", "/") + "+",
        "padded in each part": ".".join(part + "=" * (-len(part) % 4 or 4) for part in (first, second, third)),
        "with a tab at its end": f"{first}.{second}.\t{third}",
        "twice, with a comma": f"{token},{token}",
        "in quotes": f'"{token}"',
        "a signature cut short": token[:-2],
        "the signature in other letters": token[:-1] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[token[-1]],
        "padded": token + "==",
        "with a blank inside": f"{first}.{second} .{third}",
        "with a star inside": f"{first}*.{second}.{third}",
        "with a point at its end": token + ".",
        "only points": "..",
        "as JSON": json.dumps({"payload": second, "protected": first, "signature": third}),
    }
