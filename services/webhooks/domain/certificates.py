"""TLS certificates for a receiver: the client certificate we present, and the authorities we trust."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

# Time left until a certificate expires; the shortest that applies counts.
Within = Literal["expired", "1_day", "7_days", "30_days"]
# How long before a client certificate expires its owner is warned.
WARNED_BEFORE: Final = tuple(timedelta(days=days) for days in (30, 7, 1))
LONGEST_CHAIN_BYTES: Final = 32 * 1024
LONGEST_KEY_BYTES: Final = 16 * 1024
MOST_IN_CHAIN: Final = 10
MOST_AUTHORITIES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCertificate:
    """The public details of a certificate."""

    subject: str
    issuer: str
    serial_number: str
    fingerprint_sha256: str
    not_before: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """A certificate with its chain, and its private key, as unchecked PEM texts."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A valid client certificate: its chain as PEM, and its key, which is never shown."""

    shown: ShownCertificate
    chain: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CABundle:
    """Authorities that are trusted for one endpoint, instead of the public ones."""

    shown: tuple[ShownCertificate, ...]
    pem: str


@dataclass(frozen=True, slots=True)
class TLSTerms:
    """What a connection to a receiver is made with; None stands for the default of all endpoints."""

    chain: str | None
    key: bytes | None = field(repr=False)
    ca_bundle: str | None


@dataclass(frozen=True, slots=True)
class ExpiringCertificate:
    """A live endpoint whose client certificate expires soon or has expired."""

    id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    uid: str | None
    expires_at: datetime
    fingerprint_sha256: str

    def days_left(self, now: datetime) -> int:
        """Return how many whole days it is still valid; 0 on the last one and later."""
        return max(0, (self.expires_at - now) // timedelta(days=1))


def first_warning(expires_at: datetime, now: datetime) -> datetime:
    """Return when the owner is first warned: at once if that time has already passed."""
    return max(now, expires_at - WARNED_BEFORE[0])


def next_warning(expires_at: datetime, now: datetime) -> datetime | None:
    """Return when the owner is warned next; None after the last warning."""
    return next((expires_at - before for before in WARNED_BEFORE if expires_at - before > now), None)
