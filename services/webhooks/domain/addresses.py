"""Which URLs may be registered and which addresses may be dialled.

The table is our own: what Python's `ipaddress` calls global differs between patch levels and includes ranges that lead
inside. All refusals read the same, so that nobody can map a network by registering endpoints.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal

REFUSED: Final = "address not allowed or not resolvable"
MAX_URL_LENGTH: Final = 2048
Reach = Literal["public", "loopback", "development"]
"""Which addresses an endpoint's URL may lead to; `development` is for the hosts that the operator has named."""

HTTPS_PORTS: Final = frozenset({443, 8443})
_LOCAL_SUFFIXES: Final = (
    *(".local", ".localdomain", ".localhost", ".internal", ".intranet", ".home.arpa", ".svc", ".lan", ".home", ".corp"),
    *(".private", ".onion", ".test", ".invalid"),
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")

# Private, shared, loopback, link-local, protocol assignments, documentation, anycast relays, benchmarks, multicast,
# Private, shared, loopback, link-local, protocol assignments, documentation, anycast relays, benchmarks, multicast,
# reserved; and the address where one cloud provider serves its virtual machines.
_DENIED_V4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",
    )
)
# Nothing outside of this is dialled at all: mapped, compatible, translated, local, link-local, multicast.
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
_DENIED_V6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20")
)
# Where a host named by the operator of a development stack may be: in a container network, or on this machine.
_DEVELOPMENT: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})
_LOOPBACK_V4: Final = ipaddress.IPv4Network("127.0.0.0/8")
_LOOPBACK_V6: Final = ipaddress.IPv6Address("::1")


class URLRefused(Exception):
    """The URL cannot be used for an endpoint; the message is shown to the caller."""


@dataclass(frozen=True, slots=True)
class URLParts:
    """A URL as the HTTP client will read it; `host` is what it will dial, in ASCII and lower case."""

    scheme: str
    host: str
    port: int
    has_user: bool
    has_fragment: bool


def reach(url: URLParts, *, is_development: bool, development_hosts: frozenset[str] = frozenset()) -> Reach:
    """Return which addresses the URL may lead to; raises `URLRefused`.

    In development, http is allowed for literal loopback hosts and `development_hosts`; everything else must be public.
    """
    if url.scheme not in {"http", "https"}:
        raise URLRefused("must be an https URL")
    if url.has_user:
        raise URLRefused("must not contain a user name or password")
    if url.has_fragment:
        raise URLRefused("must not contain a fragment")
    if is_development and url.scheme == "http" and _is_literal_loopback(url.host):
        return "loopback"
    if is_development and url.scheme == "http" and url.host in development_hosts:
        return "development"
    if url.scheme != "https":
        raise URLRefused("must be an https URL")
    if url.port not in HTTPS_PORTS:
        raise URLRefused("must use port 443 or 8443")
    if not _is_public_host(url.host):
        raise URLRefused(REFUSED)
    return "public"


def is_dialable(address: str, reach: Reach) -> bool:
    """Return whether a socket may connect to this address; an address that cannot be parsed may not be dialled."""
    if reach == "public":
        return is_public(address)
    parsed = _parse(address)
    if parsed is None:
        return False
    if reach == "development":
        return any(parsed in network for network in _DEVELOPMENT)
    return _is_loopback(parsed)


def is_public(address: str) -> bool:
    """Return whether an IP address, as text, is in the public internet."""
    parsed = _parse(address)
    if parsed is None:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _DENIED_V4)
    if parsed not in _GLOBAL_V6 or any(parsed in network for network in _DENIED_V6):
        return False
    # The interface identifier of a tunnel names the IPv4 host at its end.
    return (int(parsed) >> 32) & 0xFFFFFFFF not in _ISATAP


def is_address(host: str) -> bool:
    """Return whether a host is an IP address rather than a name."""
    return _parse(host) is not None


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    # A zone id says nothing about where an address leads; what has one is link-local and refused by range.
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address in _LOOPBACK_V4
    return address == _LOOPBACK_V6


def _is_literal_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    parsed = _parse(host) if "%" not in host else None
    return parsed is not None and _is_loopback(parsed)


def _is_public_host(host: str) -> bool:
    if "%" in host:
        return False
    if is_address(host):
        return is_public(host)
    name = host.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        return False
    # Resolvers read such hosts as IPv4 addresses in short, octal or hexadecimal forms.
    return not _NUMERIC_LABEL.fullmatch(labels[-1]) and not ("." + name).endswith(_LOCAL_SUFFIXES)
