"""Additional headers of an endpoint, and how requests to its receiver are authenticated."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from services.webhooks.domain.errors import InvalidField

AuthType = Literal["basic", "bearer", "authorization", "header"]
MAX_HEADERS: Final = 20
LONGEST_VALUE: Final = 4096
# Set by us or by the protocol, or read by proxies as facts about the connection; endpoints cannot set them.
FORBIDDEN: Final = frozenset(
    {
        *("accept", "accept-charset", "accept-encoding", "authorization", "connection", "content-encoding"),
        *("content-length", "content-type", "cookie", "date", "expect", "forwarded", "host", "http2-settings"),
        *("keep-alive", "max-forwards", "origin", "range", "referer", "set-cookie", "te", "trailer"),
        *("transfer-encoding", "upgrade", "user-agent", "via", "x-real-ip", "traceparent", "tracestate"),
    }
)
FORBIDDEN_PREFIXES: Final = ("webhook-", "x-forwarded-", "x-mintwire-", "proxy-", "sec-", "access-control-", ":")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Auth:
    """How requests to the receiver are authenticated.

    `name` is the user name for basic, the scheme for authorization and the header name for header; `secret` is the
    rest.
    """

    type: AuthType
    name: str | None
    secret: str

    @property
    def header(self) -> tuple[str, str]:
        """The header that carries the credentials."""
        if self.type == "basic":
            pair = f"{self.name}:{self.secret}".encode()
            return "Authorization", "Basic " + base64.b64encode(pair).decode()
        if self.type == "bearer":
            return "Authorization", f"Bearer {self.secret}"
        if self.type == "authorization":
            return "Authorization", f"{self.name} {self.secret}"
        return self.name or "", self.secret


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers as given; raises `InvalidField` for headers that must not be sent."""
    if len(headers) > MAX_HEADERS:
        raise InvalidField("headers", f"must not have more than {MAX_HEADERS} members")
    if len({name.lower() for name in headers}) != len(headers):
        raise InvalidField("headers", "must not name a header twice")
    for name, value in headers.items():
        check_name("headers", name)
        check_value("headers", value)
    return dict(headers)


def check_auth(auth: Auth, headers: Mapping[str, str]) -> None:
    """Raise `InvalidField` for credentials that cannot be sent, or that name one of the headers."""
    if auth.type == "header":
        check_name("auth", auth.name or "")
        if (auth.name or "").lower() in {name.lower() for name in headers}:
            raise InvalidField("auth", "must not name one of the headers")
    if auth.type == "basic" and (not auth.name or ":" in auth.name):
        raise InvalidField("auth", "must have a username without a colon")
    if auth.type == "authorization" and not _NAME.fullmatch(auth.name or ""):
        raise InvalidField(
            "auth",
            "must have a scheme of at most 100 letters A to Z and a to z, digits and marks, such as Token",
        )
    check_value("auth", auth.secret)
    if auth.name is not None:
        check_value("auth", auth.name)


def check_name(field: str, name: str) -> None:
    """Raise `InvalidField` for a header that an endpoint cannot set."""
    lowered = name.lower()
    if not _NAME.fullmatch(name):
        raise InvalidField(
            field, "must have header names of at most 100 letters A to Z and a to z, digits and marks such as - and _"
        )
    if lowered in FORBIDDEN or lowered.startswith(FORBIDDEN_PREFIXES):
        raise InvalidField(field, f"must not set the header {lowered}")


def check_value(field: str, value: str) -> None:
    """Raise `InvalidField` for a value that would not arrive unchanged."""
    if not _VALUE.fullmatch(value) or value != value.strip() or not 0 < len(value) <= LONGEST_VALUE:
        raise InvalidField(field, f"must have values of 1 to {LONGEST_VALUE} visible ASCII characters")
