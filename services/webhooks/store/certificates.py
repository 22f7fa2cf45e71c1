"""What connections to an endpoint's receiver are made with, the key sealed, and when its certificate is warned of."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from services.webhooks.domain.certificates import (
    CABundle,
    ClientCertificate,
    ExpiringCertificate,
    ShownCertificate,
    TLSTerms,
    first_warning,
)
from services.webhooks.domain.endpoints import Endpoint
from services.webhooks.store.sealed import client_key_place
from shared.clock import format_microseconds
from shared.database.pool import Connection
from shared.database.seal_forms import sealed
from shared.database.sealing import Seal, SealBroken

SET_CERTIFICATE = """
UPDATE endpoints
SET client_certificate = $2, client_chain = $3, sealed_client_key = $4, certificate_expires_at = $5,
    certificate_warns_at = $6
WHERE id = $1
"""
SET_BUNDLE = "UPDATE endpoints SET ca_certificates = $2, ca_bundle = $3 WHERE id = $1"
LOCK_EXPIRING = """
SELECT id, program_id, partner_id, uid, certificate_expires_at, client_certificate FROM endpoints
WHERE certificate_warns_at IS NOT NULL AND certificate_warns_at <= $1 AND archived_at IS NULL
ORDER BY certificate_warns_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
"""
SET_WARNINGS = """
UPDATE endpoints e SET certificate_warns_at = w.warns_at
FROM unnest($1::uuid[], $2::timestamptz[]) AS w (id, warns_at) WHERE e.id = w.id
"""


async def set_certificate(
    connection: Connection, endpoint: Endpoint, made: ClientCertificate | None, seal: Seal, now: datetime
) -> None:
    """Write by which certificate we are known to a receiver from now on."""
    if made is None:
        await connection.execute(SET_CERTIFICATE, endpoint.id, None, None, None, None, None)
        return
    shown = made.shown
    at = client_key_place(endpoint.program_id, endpoint.partner_id, endpoint.id, shown.fingerprint_sha256)
    await connection.execute(
        SET_CERTIFICATE,
        endpoint.id,
        orjson.dumps(_members(shown)).decode(),
        made.chain,
        await sealed(connection, seal, made.key, at),
        shown.expires_at,
        first_warning(shown.expires_at, now),
    )


async def set_bundle(connection: Connection, endpoint_id: uuid.UUID, made: CABundle | None) -> None:
    """Write whom we trust to vouch for a receiver from now on."""
    if made is None:
        await connection.execute(SET_BUNDLE, endpoint_id, None, None)
    else:
        shown = orjson.dumps([_members(each) for each in made.shown]).decode()
        await connection.execute(SET_BUNDLE, endpoint_id, shown, made.pem)


async def lock_expiring(connection: Connection, now: datetime, limit: int) -> list[ExpiringCertificate]:
    """Return up to `limit` live endpoints whose owners are to be told by now, and keep others from telling them."""
    return [
        ExpiringCertificate(
            row["id"],
            row["program_id"],
            row["partner_id"],
            row["uid"],
            row["certificate_expires_at"],
            orjson.loads(row["client_certificate"])["fingerprint_sha256"],
        )
        for row in await connection.fetch(LOCK_EXPIRING, now, limit)
    ]


async def set_warnings(connection: Connection, times: Mapping[uuid.UUID, datetime | None]) -> None:
    """Write when owners are to be told again."""
    await connection.execute(SET_WARNINGS, list(times), list(times.values()))


def to_certificate(text: str | None) -> ShownCertificate | None:
    """Return what may be shown of a client certificate."""
    return None if text is None else _certificate(orjson.loads(text))


def to_certificates(text: str | None) -> tuple[ShownCertificate, ...] | None:
    """Return what may be shown of an endpoint's own authorities."""
    return None if text is None else tuple(_certificate(each) for each in orjson.loads(text))


def to_terms(row: Any, seal: Seal) -> tuple[TLSTerms | None, bool]:
    """Return what connections are made with, and whether that is all that they are to be made with."""
    shown = to_certificate(row["client_certificate"])
    key = None if shown is None else _key(row, shown, seal)
    if shown is not None and key is None:
        return None, False
    if shown is None and row["ca_bundle"] is None:
        return None, row["ca_certificates"] is None
    chain = None if shown is None else row["client_chain"]
    return TLSTerms(chain, key, row["ca_bundle"]), (row["ca_bundle"] is None) == (row["ca_certificates"] is None)


def _key(row: Any, shown: ShownCertificate, seal: Seal) -> bytes | None:
    if row["sealed_client_key"] is None or row["client_chain"] is None:
        return None
    at = client_key_place(row["program_id"], row["partner_id"], row["id"], shown.fingerprint_sha256)
    try:
        return seal.open(row["sealed_client_key"], at)
    except SealBroken:
        return None


def _members(shown: ShownCertificate) -> dict[str, str]:
    return {
        "subject": shown.subject,
        "issuer": shown.issuer,
        "serial_number": shown.serial_number,
        "fingerprint_sha256": shown.fingerprint_sha256,
        "not_before": format_microseconds(shown.not_before),
        "expires_at": format_microseconds(shown.expires_at),
    }


def _certificate(members: Mapping[str, str]) -> ShownCertificate:
    return ShownCertificate(
        subject=members["subject"],
        issuer=members["issuer"],
        serial_number=members["serial_number"],
        fingerprint_sha256=members["fingerprint_sha256"],
        not_before=datetime.fromisoformat(members["not_before"]),
        expires_at=datetime.fromisoformat(members["expires_at"]),
    )
