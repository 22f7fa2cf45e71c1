"""Why a signature does not verify: looks for the mistakes that receivers make, one after the other."""

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from services.webhooks.domain.signature import MAX_LIVE_KEYS, signed_content

Problem = Literal[
    "header_missing",
    "timestamp_malformed",
    "timestamp_too_old",
    "timestamp_too_new",
    "signature_malformed",
    "no_signature_for_key",
    "body_changed",
    "secret_not_decoded",
    "no_match",
]
TOLERANCE_SECONDS: Final = 300
HINTS: Final[Mapping[Problem, str]] = {
    "header_missing": "All of webhook-id, webhook-timestamp and webhook-signature are needed.",
    "timestamp_malformed": "webhook-timestamp has to be whole seconds since 1970.",
    "timestamp_too_old": "The timestamp is more than the tolerance in the past: an old message, or a slow clock.",
    "timestamp_too_new": "The timestamp is more than the tolerance in the future: check the receiver's clock.",
    "signature_malformed": "webhook-signature has to hold signatures such as v1,<base64>, separated by spaces.",
    "no_signature_for_key": "None of the signatures is of the key's kind: v1 is made with whsec_, v1a with whsk_ keys.",
    "body_changed": "The signature is right for another spelling of this body: verify the raw bytes, unparsed.",
    "secret_not_decoded": "The signature was made with the text of the secret: decode the base64 after whsec_ first.",
    "no_match": "The signatures were made with another key, or for another id, timestamp or body.",
}


@dataclass(frozen=True, slots=True)
class Verifier:
    """A key to verify with; `matches` takes what was signed and the bytes of a signature."""

    name: str
    version: Literal["v1", "v1a"]
    matches: Callable[[bytes, bytes], bool]
    secret_text: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of it: the name of the key that verified, or what is wrong, the most likely first."""

    is_valid: bool
    key: str | None
    problems: tuple[Problem, ...]


def hmac_verifier(name: str, key: bytes, text: str | None = None) -> Verifier:
    """Return a verifier with a secret of HMAC."""
    return Verifier(
        name, "v1", lambda content, given: hmac.compare_digest(hmac.digest(key, content, "sha256"), given), text
    )


def examine(
    headers: Mapping[str, str], body: bytes, verifiers: Sequence[Verifier], now: int, tolerance: int
) -> Finding:
    """Verify a message as a receiver has it."""
    lowered = {name.lower(): value.strip() for name, value in headers.items()}
    values = [lowered.get(f"webhook-{each}") for each in ("id", "timestamp", "signature")]
    message_id, timestamp, signature = values
    if not message_id or not timestamp or not signature:
        return Finding(False, None, ("header_missing",))
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return Finding(False, None, ("timestamp_malformed",))
    problems: list[Problem] = []
    if int(timestamp) < now - tolerance:
        problems.append("timestamp_too_old")
    elif int(timestamp) > now + tolerance:
        problems.append("timestamp_too_new")
    given = _signatures(signature)
    if not given:
        return Finding(False, None, (*problems, "signature_malformed"))
    verifier = _match(verifiers, given, message_id, int(timestamp), body)
    if verifier is not None:
        return Finding(not problems, verifier.name, tuple(problems))
    problems.append(_likely(verifiers, given, message_id, int(timestamp), body))
    return Finding(False, None, tuple(problems))


def _signatures(header: str) -> list[tuple[str, bytes]]:
    """Return the signatures of a header; beyond as many as keys may sign with, none can be ours."""
    found = []
    for part in header.split(maxsplit=MAX_LIVE_KEYS)[:MAX_LIVE_KEYS]:
        version, _, encoded = part.partition(",")
        try:
            found.append((version, base64.b64decode(encoded, validate=True)))
        except (binascii.Error, ValueError):
            continue
    return [(version, raw) for version, raw in found if version in {"v1", "v1a"} and raw]


def _match(
    verifiers: Sequence[Verifier], given: Sequence[tuple[str, bytes]], message_id: str, timestamp: int, body: bytes
) -> Verifier | None:
    content = signed_content(message_id, timestamp, body)
    for verifier in verifiers:
        for version, raw in given:
            if version == verifier.version and verifier.matches(content, raw):
                return verifier
    return None


def _likely(
    verifiers: Sequence[Verifier], given: Sequence[tuple[str, bytes]], message_id: str, timestamp: int, body: bytes
) -> Problem:
    if not {verifier.version for verifier in verifiers} & {version for version, _ in given}:
        return "no_signature_for_key"
    for spelling in _spellings(body):
        if _match(verifiers, given, message_id, timestamp, spelling) is not None:
            return "body_changed"
    literal = [
        hmac_verifier(verifier.name, text.encode())
        for verifier in verifiers
        if verifier.secret_text is not None
        for text in (verifier.secret_text, verifier.secret_text.partition("_")[2])
    ]
    if _match(literal, given, message_id, timestamp, body) is not None:
        return "secret_not_decoded"
    return "no_match"


def _spellings(body: bytes) -> list[bytes]:
    """Return what a body may have been before a parser, an editor or a shell took hold of it."""
    found = [body.strip(), body + b"\n", body.replace(b"\r\n", b"\n")]
    try:
        value = json.loads(body)
        made = [
            json.dumps(value, separators=separators, ensure_ascii=is_ascii).encode()
            for separators in ((",", ":"), (", ", ": "))
            for is_ascii in (False, True)
        ]
    except (ValueError, RecursionError):
        # No JSON, half of a character, or nested deeper than Python goes.
        return found
    return found + made
