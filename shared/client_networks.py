"""Which client a request comes from, for limits: its IPv4 address, or its IPv6 network. Pure."""

import ipaddress
from typing import Final

# The owner of one IPv6 address usually has the 2^64 around it.
_IPV6_NETWORK: Final = 64


def client_network(remote: str | None, forwarded_for: str, trusted_proxies: int) -> str:
    """Return whose limits apply to a request: the client's IPv4 address, or its IPv6 network.

    In `X-Forwarded-For` only the last entries count, which the trusted proxies wrote: with `n` proxies in front, the
    client is the nth from the end. Everything that is not an address counts as one client.
    """
    address = remote or ""
    if trusted_proxies:
        hops = forwarded_for.split(",")
        address = hops[-trusted_proxies].strip() if len(hops) >= trusted_proxies else ""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), _IPV6_NETWORK), strict=False))
    return str(found)
