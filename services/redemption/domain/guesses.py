"""How many refused codes a client with a publishable key may have, before it looks like guessing."""

import ipaddress
from datetime import timedelta
from typing import Final

BUDGET: Final = 20
WINDOW: Final = timedelta(minutes=10)
# The owner of one IPv6 address usually has the 2^64 around it.
_IPV6_NETWORK: Final = 64


def guesser(remote: str | None, forwarded_for: str, trusted_proxies: int) -> str:
    """Return whose budget a request draws on: the client's IPv4 address, or its IPv6 network.

    In `X-Forwarded-For` only the last entries count, which the trusted proxies wrote: with `n` proxies in front, the
    client is the nth from the end. Everything that is not an address shares one budget.
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
