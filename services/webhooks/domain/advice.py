"""What to do about a failed attempt: a stable code, and a sentence for the person who runs the receiver."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from services.webhooks.domain.deliveries import ErrorCode

AdviceCode = Literal[
    "use_public_address",
    "open_port",
    "open_firewall",
    "check_certificate",
    "answer_sooner",
    "keep_connection_open",
    "speak_http",
    "register_final_url",
    "check_verification",
    "check_credentials",
    "let_us_in",
    "check_url",
    "accept_post",
    "accept_content_type",
    "accept_larger_body",
    "enable_again",
    "slow_us_down",
    "check_availability",
    "check_receiver_log",
    "answer_2xx",
]
TEXTS: Final[Mapping[AdviceCode, str]] = {
    "use_public_address": (
        "The host has no address or none that is public: check its DNS record, and register a URL with a public "
        "address."
    ),
    "open_port": "Nothing listens on this port: start the receiver, and check the host and port of the URL.",
    "open_firewall": "The host does not respond: allow our connections in the receiver's firewall.",
    "check_certificate": (
        "TLS failed: serve a valid certificate for this host with its complete chain over TLS 1.2 or newer, or set the "
        "endpoint's ca_bundle if your own authority issued it. If the receiver asks for a client certificate, set "
        "client_certificate to one that it trusts and that has not expired."
    ),
    "answer_sooner": (
        "The receiver took too long: respond with 2xx first and process later, or raise timeout_seconds (at most 30)."
    ),
    "keep_connection_open": (
        "The connection was closed before the response was complete: look for a crash, a proxy that closes connections "
        "early, or a client certificate that the receiver asks for."
    ),
    "speak_http": "The server does not speak HTTP: check the port of the URL.",
    "register_final_url": "Redirects are not followed: register the URL that this one redirects to.",
    "check_verification": (
        "The receiver rejected the message, most often because it could not verify the signature: "
        "POST /v1/webhooks/verify-signature explains why."
    ),
    "check_credentials": "The receiver rejected the credentials: set the endpoint's auth to what it expects.",
    "let_us_in": (
        "The receiver forbids the POST: exempt its path from CSRF and bot protection, and allow the addresses listed "
        "by GET /v1/meta."
    ),
    "check_url": "The receiver has nothing at this path: check the path of the URL and that the route is deployed.",
    "accept_post": "The route does not accept POST: register the URL of one that does.",
    "accept_content_type": (
        "The receiver does not accept this content type: accept it, or choose another format for the endpoint."
    ),
    "accept_larger_body": "The body is too large for the receiver: raise its limit, or choose the thin format.",
    "enable_again": "The receiver answered 410 Gone, so the endpoint is disabled: enable it once it is back.",
    "slow_us_down": (
        "The receiver gets more requests than it accepts: lower rate_limit_per_second or max_in_flight, or raise its "
        "own limit."
    ),
    "check_availability": (
        "The receiver, or a proxy in front of it, is overloaded or down: bring it back; deliveries wait until then."
    ),
    "check_receiver_log": "The receiver failed with an error of its own: check its log at the time of this attempt.",
    "answer_2xx": "Only a 2xx status counts as success: respond with one.",
}
_OF_ERRORS: Final[Mapping[ErrorCode, AdviceCode]] = {
    "blocked_address": "use_public_address",
    "connect_failed": "open_port",
    "connect_timeout": "open_firewall",
    "tls_failed": "check_certificate",
    "timeout": "answer_sooner",
    "connection_lost": "keep_connection_open",
    "invalid_answer": "speak_http",
}
_OF_STATUSES: Final[Mapping[int, AdviceCode]] = {
    400: "check_verification",
    401: "check_credentials",
    403: "let_us_in",
    404: "check_url",
    405: "accept_post",
    406: "accept_content_type",
    408: "answer_sooner",
    410: "enable_again",
    413: "accept_larger_body",
    415: "accept_content_type",
    422: "check_verification",
    429: "slow_us_down",
    502: "check_availability",
    503: "check_availability",
    504: "check_availability",
}
_OF_CLASSES: Final[Mapping[int, AdviceCode]] = {3: "register_final_url", 5: "check_receiver_log"}


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a failed attempt: a stable code and an explanation."""

    code: AdviceCode
    text: str


def advise(status: int | None, error_code: ErrorCode | None) -> Advice | None:
    """Return the advice for the result of an attempt; None if there is nothing to do."""
    # A status decides, even if the rest of the response failed.
    if status is None and error_code is not None:
        code = _OF_ERRORS[error_code]
    elif status is None or 200 <= status < 300:
        return None
    else:
        code = _OF_STATUSES.get(status) or _OF_CLASSES.get(status // 100, "answer_2xx")
    return Advice(code, TEXTS[code])
