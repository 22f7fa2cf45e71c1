"""Webhooks as the service signs them, and the ways in which they can be spoiled."""

import time
from dataclasses import dataclass, replace

from services.webhooks.domain.signature import SigningKey
from services.webhooks.sender.signing import new_key, public_text, secret_text, sign

BODY = '{"event":"code.redeemed","partner_id":"p","code":"ACME-1","recipient_name":"Zoë 🎉","n":1e400,"z":0}'.replace(
    "1e400", "9007199254740993"
).encode()


@dataclass(frozen=True)
class Signed:
    """A request, and the keys that its receiver has."""

    secret: str
    public: str
    headers: dict[str, str]
    body: bytes
    wanted: str | None = None

    def with_header(self, name: str, value: str, wanted: str) -> "Signed":
        return replace(self, headers={**self.headers, name: value}, wanted=wanted)


def signed(
    *more: SigningKey, body: bytes = BODY, age_seconds: int = 0, sequence: int | None = 12, wanted: str | None = None
) -> Signed:
    """Sign with a new key of each algorithm, and with others before them."""
    secret, pair = new_key("hmac"), new_key("ed25519")
    timestamp = int(time.time()) - age_seconds
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign("msg_1", timestamp, body, [*more, secret.key, pair.key]),
    }
    if sequence is not None:
        headers["webhook-sequence"] = str(sequence)
    public = public_text(pair.public_key or b"")
    return Signed(secret_text(secret.key), public, headers, body, wanted)


def spoiled() -> list[Signed]:
    """Requests that have to be refused, each with the reason."""
    good = signed()
    without = {name: value for name, value in good.headers.items() if name != "webhook-signature"}
    return [
        replace(good, headers=without, wanted="missing_header"),
        good.with_header("webhook-timestamp", "soon", "bad_timestamp"),
        good.with_header("webhook-timestamp", "-1", "bad_timestamp"),
        good.with_header("webhook-timestamp", str(int(good.headers["webhook-timestamp"]) + 1), "no_match"),
        good.with_header("webhook-id", "msg_2", "no_match"),
        good.with_header("webhook-signature", "", "no_match"),
        good.with_header("webhook-signature", "v1,", "no_match"),
        good.with_header("webhook-signature", "v1,not base64", "no_match"),
        good.with_header("webhook-signature", good.headers["webhook-signature"].replace("v1", "v2"), "no_match"),
        replace(good, body=good.body + b" ", wanted="no_match"),
        replace(signed(), secret=good.secret, public=good.public, wanted="no_match"),
        signed(age_seconds=310, wanted="too_old"),
        signed(age_seconds=-900, wanted="too_new"),
        signed(body=b"[1]", wanted="bad_body"),
        signed(body=b"no JSON", wanted="bad_body"),
        signed(body=b'{"code":"no type"}', wanted="bad_body"),
    ]
