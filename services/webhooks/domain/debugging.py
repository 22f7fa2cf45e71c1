"""Why a signature does not verify: checks for the mistakes that receivers make, one after the other."""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from services.webhooks.domain.signature import MAX_LIVE_KEYS, signed_content
from services.webhooks.domain.spellings import difference, spellings

Problem = Literal[
    "header_missing",
    "timestamp_malformed",
    "timestamp_too_old",
    "timestamp_too_new",
    "signature_malformed",
    "signature_in_hex",
    "no_signature_for_key",
    "old_key",
    "secret_not_decoded",
    "body_empty",
    "body_sorted",
    "body_changed",
    "content_incomplete",
    "wrong_message",
    "message_unknown",
    "no_match",
]
# How a body compares with the one that was sent under its id.
StoredBody = Literal["same", "respelled", "other", "forgotten", "unknown"]
TOLERANCE_SECONDS: Final = 300
HINTS: Final[Mapping[Problem, str]] = {
    "header_missing": "The headers webhook-id, webhook-timestamp and webhook-signature are all required.",
    "timestamp_malformed": "webhook-timestamp must be whole seconds since 1970.",
    "timestamp_too_old": "The timestamp is too far in the past for the tolerance: an old message, or a clock that is "
    "wrong.",
    "timestamp_too_new": "The timestamp is too far in the future for the tolerance: check the receiver's clock.",
    "signature_malformed": "webhook-signature must contain signatures such as v1,<base64>, separated by spaces.",
    "signature_in_hex": "The signature is correct but hex-encoded: encode it in base64, after v1 and a comma.",
    "no_signature_for_key": "No signature matches the type of the key: v1 is made with whsec_ keys, v1a with whsk_ "
    "keys.",
    "old_key": "The signature was made with an expired key of this endpoint: use the newest secret.",
    "secret_not_decoded": "The secret was used as text: decode the base64 after whsec_ first.",
    "body_empty": "The body is empty, or an empty body was signed: read the raw bytes before any parser does.",
    "body_sorted": "The members of the body are sorted, so it was parsed and written again: verify the raw bytes.",
    "body_changed": "The body was parsed and written again with different formatting: verify the raw bytes.",
    "content_incomplete": "Only a part was signed: sign webhook-id, webhook-timestamp and the body, joined by dots.",
    "wrong_message": "The body is not the one that was sent under this webhook-id: take both from one request.",
    "message_unknown": "No message with this webhook-id was sent to this endpoint, or it is no longer stored.",
    "no_match": "The signatures were made with another key, or for another id, timestamp or body.",
}
_HEX: Final = re.compile(r"(?:v1[,=])?([0-9A-Fa-f]{64})")


@dataclass(frozen=True, slots=True)
class Verifier:
    """A key to verify with; `matches` takes what was signed and the bytes of one or more signatures."""

    name: str
    version: Literal["v1", "v1a"]
    matches: Callable[[bytes, Sequence[bytes]], bool]
    secret_text: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent to an endpoint under the id of a message, if anything; `body` is None once it is deleted."""

    is_known: bool
    body: bytes | None = None

    def compare(self, body: bytes) -> StoredBody:
        """Return how a body compares with the one that was sent."""
        if not self.is_known:
            return "unknown"
        if self.body is None:
            return "forgotten"
        found = difference(body, self.body)
        if found is None:
            return "same"
        return "respelled" if found in {"body_changed", "body_sorted"} else "other"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result: the name of the key that verified, or the problems, the most likely first.

    `stored_body` is None without an endpoint, because then there is nothing to compare with.
    """

    is_valid: bool
    key: str | None
    problems: tuple[Problem, ...]
    stored_body: StoredBody | None = None


@dataclass(frozen=True, slots=True)
class _Signed:
    """A message as received."""

    message_id: str
    timestamp: str
    body: bytes
    given: Sequence[tuple[str, bytes]]

    def content(self, body: bytes) -> bytes:
        return signed_content(self.message_id, int(self.timestamp), body)

    def parts(self) -> Iterator[bytes]:
        """Yield what a sender signs that leaves out a part."""
        yield self.body
        yield b"%b.%b" % (self.timestamp.encode(), self.body)
        yield b"%b.%b" % (self.message_id.encode(), self.body)


def hmac_verifier(name: str, key: bytes, text: str | None = None) -> Verifier:
    """Return a verifier with an HMAC secret."""

    def matches(content: bytes, given: Sequence[bytes]) -> bool:
        right = hmac.digest(key, content, "sha256")
        return any(hmac.compare_digest(right, each) for each in given)

    return Verifier(name, "v1", matches, text)


def message_name_in(headers: Mapping[str, str]) -> str:
    """Return the message id in the headers; empty if there is none."""
    return next((value.strip() for name, value in headers.items() if name.lower() == "webhook-id"), "")


def examine(
    headers: Mapping[str, str],
    body: bytes,
    verifiers: Sequence[Verifier],
    now: int,
    tolerance: int,
    *,
    ended: Sequence[Verifier] = (),
    sent: Sent | None = None,
) -> Finding:
    """Verify a message as received; `ended` are expired keys."""
    stored_body = None if sent is None else sent.compare(body)
    lowered = {name.lower(): value.strip() for name, value in headers.items()}
    values = [lowered.get(f"webhook-{each}") for each in ("id", "timestamp", "signature")]
    message_id, timestamp, signature = values
    if not message_id or not timestamp or not signature:
        return Finding(False, None, ("header_missing",), stored_body)
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return Finding(False, None, ("timestamp_malformed",), stored_body)
    problems: list[Problem] = []
    if int(timestamp) < now - tolerance:
        problems.append("timestamp_too_old")
    elif int(timestamp) > now + tolerance:
        problems.append("timestamp_too_new")
    message = _Signed(message_id, timestamp, body, _signatures(signature))
    verifier = _match(verifiers, message, message.content(body))
    if verifier is not None:
        # The signature is correct for this body, but the body may not be what was sent.
        problems += _body_difference(sent, body)
        return Finding(not problems, verifier.name, tuple(problems), stored_body)
    if _is_in_hex(verifiers, signature, message):
        problems.append("signature_in_hex")
    elif not message.given:
        problems.append("signature_malformed")
    else:
        problems += _likely_problems(verifiers, ended, message, sent)
    return Finding(False, None, tuple(problems), stored_body)


def _signatures(header: str) -> list[tuple[str, bytes]]:
    """Return the signatures of a header, up to the maximum number of keys: none beyond that can be ours."""
    found = []
    for part in header.split(maxsplit=MAX_LIVE_KEYS)[:MAX_LIVE_KEYS]:
        version, _, encoded = part.partition(",")
        try:
            found.append((version, base64.b64decode(encoded, validate=True)))
        except (binascii.Error, ValueError):
            continue
    return [(version, raw) for version, raw in found if version in {"v1", "v1a"} and raw]


def _is_in_hex(verifiers: Sequence[Verifier], header: str, message: _Signed) -> bool:
    written = _HEX.fullmatch(header)
    if written is None:
        return False
    given = [bytes.fromhex(written[1])]
    content = message.content(message.body)
    return any(each.version == "v1" and each.matches(content, given) for each in verifiers)


def _match(verifiers: Sequence[Verifier], message: _Signed, content: bytes) -> Verifier | None:
    for verifier in verifiers:
        given = [raw for version, raw in message.given if version == verifier.version]
        if given and verifier.matches(content, given):
            return verifier
    return None


def _likely_problems(
    verifiers: Sequence[Verifier], ended: Sequence[Verifier], message: _Signed, sent: Sent | None
) -> list[Problem]:
    """Return the likely problems of a message whose signature is wrong."""
    if not {verifier.version for verifier in (*verifiers, *ended)} & {version for version, _ in message.given}:
        return ["no_signature_for_key"]
    if sent is not None and sent.body is not None and _match(verifiers, message, message.content(sent.body)):
        return _body_difference(sent, message.body)
    if _match(ended, message, message.content(message.body)):
        return ["old_key"]
    if _match(_literal((*verifiers, *ended)), message, message.content(message.body)):
        return ["secret_not_decoded"]
    for change, spelling in spellings(message.body):
        if _match(verifiers, message, message.content(spelling)):
            return [change]
    if any(_match(verifiers, message, part) for part in message.parts()):
        return ["content_incomplete"]
    return _body_difference(sent, message.body) or (["message_unknown"] if sent and not sent.is_known else ["no_match"])


def _body_difference(sent: Sent | None, body: bytes) -> list[Problem]:
    """Return how a body differs from what was sent, as far as that is known."""
    found = None if sent is None or sent.body is None else difference(body, sent.body)
    return [] if found is None else [found]


def _literal(verifiers: Sequence[Verifier]) -> list[Verifier]:
    return [
        hmac_verifier(verifier.name, text.encode())
        for verifier in verifiers
        if verifier.secret_text is not None
        for text in (verifier.secret_text, verifier.secret_text.partition("_")[2])
    ]
