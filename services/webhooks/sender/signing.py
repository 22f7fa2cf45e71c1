"""Signs with both algorithms, creates new keys, and parses the ed25519 keys that callers supply."""

import base64
import secrets
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.webhooks.domain.signature import (
    PRIVATE_PREFIX,
    PUBLIC_PREFIX,
    SECRET_PREFIX,
    SEED_BYTES,
    Algorithm,
    MadeKey,
    SigningKey,
    decode,
    encode,
    hmac_signature,
    parse_secret,
    signed_content,
)

NEW_SECRET_BYTES: Final = 32


def sign(message_id: str, timestamp: int, body: bytes, keys: Iterable[SigningKey]) -> str:
    """Return the value of `webhook-signature`: one signature per key, separated by spaces."""
    content = signed_content(message_id, timestamp, body)
    return " ".join(
        hmac_signature(content, key.secret) if key.algorithm == "hmac" else _ed25519_signature(content, key.secret)
        for key in keys
    )


def new_key(algorithm: Algorithm) -> MadeKey:
    """Return a new random key."""
    return pair_of(SigningKey(algorithm, secrets.token_bytes(NEW_SECRET_BYTES if algorithm == "hmac" else SEED_BYTES)))


def read_key(text: str) -> MadeKey:
    """Return the key from a caller's own `whsec_` or `whsk_` text; raises ValueError."""
    if not text.startswith(PRIVATE_PREFIX):
        return pair_of(SigningKey("hmac", parse_secret(text)))
    pair = decode(text, PRIVATE_PREFIX)
    if len(pair) not in (SEED_BYTES, 2 * SEED_BYTES):
        raise ValueError(f"must contain {SEED_BYTES} or {2 * SEED_BYTES} bytes")
    made = pair_of(SigningKey("ed25519", pair[:SEED_BYTES]))
    if pair[SEED_BYTES:] not in (b"", made.public_key):
        raise ValueError("must contain a private key and the public key that belongs to it")
    return made


def pair_of(key: SigningKey) -> MadeKey:
    """Return a key with its public half; an HMAC secret has none."""
    is_pair = key.algorithm == "ed25519"
    return MadeKey(key, _private_key(key.secret).public_key().public_bytes_raw() if is_pair else None)


def secret_text(key: SigningKey) -> str:
    """Return an HMAC secret as the text that is shown once."""
    return encode(SECRET_PREFIX, key.secret)


def public_text(public: bytes) -> str:
    """Return a public key as its `whpk_` text."""
    return encode(PUBLIC_PREFIX, public)


def is_signed_by(public: bytes, content: bytes, signature: bytes) -> bool:
    """Return whether an ed25519 signature is correct."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _ed25519_signature(content: bytes, seed: bytes) -> str:
    return "v1a," + base64.b64encode(_private_key(seed).sign(content)).decode()


# Deriving the key costs as much as signing with it.
@lru_cache(maxsize=1024)
def _private_key(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)
