"""Parses certificates and keys that callers supply, and builds TLS contexts from them.

All of it takes a while, so call it in a thread.
"""

import secrets
import ssl
import tempfile
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from services.webhooks.domain.certificates import (
    LONGEST_KEY_BYTES,
    MOST_AUTHORITIES,
    MOST_IN_CHAIN,
    CABundle,
    CertificatePair,
    ClientCertificate,
    ShownCertificate,
    TLSTerms,
)
from services.webhooks.domain.errors import InvalidField

_CERTIFICATE: Final = "client_certificate.certificate"
_KEY: Final = "client_certificate.key"
_BUNDLE: Final = "ca_bundle"


def read_pair(pair: CertificatePair, now: datetime) -> ClientCertificate:
    """Return a usable client certificate. Raises InvalidField."""
    chain = _read_certificates(_CERTIFICATE, pair.certificate, MOST_IN_CHAIN)
    key = _read_key(pair.key)
    own = chain[0]
    if own.not_valid_after_utc <= now:
        raise InvalidField(_CERTIFICATE, "must not have expired")
    if _public(own.public_key()) != _public(key.public_key()):
        raise InvalidField(_KEY, "must be the key of the first certificate")
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    made = ClientCertificate(_shown(_CERTIFICATE, own), _pem(chain), plain)
    try:
        make_context(TLSTerms(made.chain, made.key, None))
    except (ssl.SSLError, ValueError):
        raise InvalidField(_CERTIFICATE, "cannot be used: its key or its signature is too weak") from None
    return made


def read_bundle(text: str) -> CABundle:
    """Return usable authorities. Raises InvalidField."""
    found = _read_certificates(_BUNDLE, text, MOST_AUTHORITIES)
    made = CABundle(tuple(_shown(_BUNDLE, each) for each in found), _pem(found))
    try:
        make_context(TLSTerms(None, None, made.pem))
    except (ssl.SSLError, ValueError):
        raise InvalidField(_BUNDLE, "must contain certificates of authorities") from None
    return made


def make_context(terms: TLSTerms) -> ssl.SSLContext:
    """Return the TLS context of a connection; raises ssl.SSLError for parts that do not fit together."""
    context = ssl.create_default_context(cadata=terms.ca_bundle)
    if terms.ca_bundle is not None:
        # An authority named by the owner is trusted even if it is not a root.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if terms.chain is not None and terms.key is not None:
        _load(context, terms.chain, terms.key)
    return context


def _load(context: ssl.SSLContext, chain: str, key: bytes) -> None:
    # Python reads keys from files only. The file is useless without its password, which exists in memory only.
    password = secrets.token_hex(32)
    locked = load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
    )
    with tempfile.NamedTemporaryFile() as file:
        file.write(chain.encode() + locked)
        file.flush()
        context.load_cert_chain(file.name, password=password)


def _read_certificates(field: str, text: str, most: int) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidField(field, "must contain certificates in PEM") from None
    if len(found) > most:
        raise InvalidField(field, f"must contain at most {most} certificates")
    return found


def _read_key(text: str) -> PrivateKeyTypes:
    if len(text) > LONGEST_KEY_BYTES:
        raise InvalidField(_KEY, f"must have at most {LONGEST_KEY_BYTES} characters")
    try:
        return load_pem_private_key(text.encode(), None)
    except TypeError:
        raise InvalidField(_KEY, "must be a key without a passphrase; we encrypt it ourselves") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidField(_KEY, "must be a private key in PEM") from None


def _shown(field: str, certificate: x509.Certificate) -> ShownCertificate:
    try:
        return ShownCertificate(
            subject=certificate.subject.rfc4514_string(),
            issuer=certificate.issuer.rfc4514_string(),
            serial_number=f"{certificate.serial_number:x}",
            fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            not_before=certificate.not_valid_before_utc,
            expires_at=certificate.not_valid_after_utc,
        )
    except ValueError:
        raise InvalidField(field, "must contain certificates with readable names and times") from None


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


def _pem(certificates: list[x509.Certificate]) -> str:
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)
