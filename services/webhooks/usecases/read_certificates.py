"""Reads the certificates of a request in a thread and before any transaction, because it takes a while."""

import asyncio
from datetime import datetime

from services.webhooks.domain.certificates import CABundle, CertificatePair, ClientCertificate
from services.webhooks.sender.certificates import read_bundle, read_pair


async def certificate_of(pair: CertificatePair | None, now: datetime) -> ClientCertificate | None:
    """Return a valid client certificate. Raises InvalidField."""
    return None if pair is None else await asyncio.to_thread(read_pair, pair, now)


async def bundle_of(text: str | None) -> CABundle | None:
    """Return valid authorities. Raises InvalidField."""
    return None if text is None else await asyncio.to_thread(read_bundle, text)
