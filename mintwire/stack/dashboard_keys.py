"""The key pair of a stack's dashboard: the private half for the dashboard, the public half for the services."""

from __future__ import annotations

import json
from typing import get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.accounts import Role
from shared.signing_keys import private_jwk, public_jwk, thumbprint

_ISSUER = "mintwire-dashboard"


def signing_key(seed: bytes) -> str:
    """Return the private key of 32 random bytes as a JWK, for `DASHBOARD_SIGNING_KEY`."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return json.dumps(private_jwk(key, thumbprint(key), _ISSUER))


def account_keys(seed: bytes) -> str:
    """Return the JWK Set of its public half, with the roles that it may state, for `<SERVICE>_ACCOUNT_KEYS`."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return json.dumps({"keys": [public_jwk(key, thumbprint(key), _ISSUER, get_args(Role))]})
