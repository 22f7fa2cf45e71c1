"""The TLS settings of endpoints, with the private key sealed, and the warnings about expiring certificates."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

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
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement
from shared.database.seal_forms import sealed
from shared.database.sealing import Seal, SealBroken
from shared.times import format_microseconds

SET_CERTIFICATE = Statement("""
UPDATE endpoints
SET client_certificate = $shown, client_chain = $chain, sealed_client_key = $sealed_key,
    certificate_expires_at = $expires_at,
    certificate_warns_at = $warns_at
WHERE id = $id
""")
SET_BUNDLE = "UPDATE endpoints SET ca_certificates = $2, ca_bundle = $3 WHERE id = $1"
LOCK_EXPIRING = """
SELECT id, program_id, partner_id, uid, certificate_expires_at AS expires_at,
       client_certificate->>'fingerprint_sha256' AS fingerprint_sha256
FROM endpoints
WHERE certificate_warns_at IS NOT NULL AND certificate_warns_at <= $1 AND archived_at IS NULL
ORDER BY certificate_warns_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
"""
SET_WARNINGS = Statement("""
UPDATE endpoints e SET certificate_warns_at = w.warns_at
FROM @w(id uuid, warns_at timestamptz) WHERE e.id = w.id
""")


async def set_certificate(
    connection: Connection, endpoint: Endpoint, made: ClientCertificate | None, seal: Seal, now: datetime
) -> None:
    """Write the client certificate to present to a receiver from now on."""
    columns: dict[str, Any] = dict.fromkeys(("shown", "chain", "sealed_key", "expires_at", "warns_at"))
    if made is not None:
        shown = made.shown
        at = client_key_place(endpoint.program_id, endpoint.partner_id, endpoint.id, shown.fingerprint_sha256)
        columns["shown"], columns["chain"] = orjson.dumps(_members(shown)).decode(), made.chain
        columns["sealed_key"] = await sealed(connection, seal, made.key, at)
        columns["expires_at"], columns["warns_at"] = shown.expires_at, first_warning(shown.expires_at, now)
    await connection.execute(*SET_CERTIFICATE(id=endpoint.id, **columns))


async def set_bundle(connection: Connection, endpoint_id: uuid.UUID, made: CABundle | None) -> None:
    """Write the authorities to trust for a receiver from now on."""
    if made is None:
        await connection.execute(SET_BUNDLE, endpoint_id, None, None)
    else:
        shown = orjson.dumps([_members(each) for each in made.shown]).decode()
        await connection.execute(SET_BUNDLE, endpoint_id, shown, made.pem)


async def lock_expiring(connection: Connection, now: datetime, limit: int) -> list[ExpiringCertificate]:
    """Lock and return up to `limit` live endpoints whose owners are due a warning."""
    return [_EXPIRING(row) for row in await connection.fetch(LOCK_EXPIRING, now, limit)]


async def set_warnings(connection: Connection, times: Mapping[uuid.UUID, datetime | None]) -> None:
    """Write when owners are warned next."""
    await connection.execute(*SET_WARNINGS(w={"id": list(times), "warns_at": list(times.values())}))


def to_certificate(text: str) -> ShownCertificate:
    """Return the public details of a client certificate."""
    return _certificate(orjson.loads(text))


def to_certificates(text: str) -> tuple[ShownCertificate, ...]:
    """Return the public details of an endpoint's own authorities."""
    return tuple(_certificate(each) for each in orjson.loads(text))


def to_terms(row: Any, shown: ShownCertificate | None, seal: Seal) -> tuple[TLSTerms | None, bool]:
    """Return the TLS terms of an endpoint, and whether all of them could be decrypted."""
    key = None if shown is None else _key(row, shown, seal)
    if shown is not None and key is None:
        return None, False
    if shown is None and row["ca_pem"] is None:
        return None, row["ca_bundle"] is None
    chain = None if shown is None else row["client_chain"]
    return TLSTerms(chain, key, row["ca_pem"]), (row["ca_pem"] is None) == (row["ca_bundle"] is None)


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
    times = {name: datetime.fromisoformat(members[name]) for name in ("not_before", "expires_at")}
    return ShownCertificate(**dict[str, Any](members) | times)


_EXPIRING: Final = Rows(ExpiringCertificate)
