"""URLs as text: path and query are sent exactly as written, and a password is inserted in escaped form."""

import re
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from yarl import URL

_END_OF_AUTHORITY: Final = re.compile(r"[/?#]")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")


def authority_of(text: str) -> str:
    """Return the part between `//` and the path."""
    return _END_OF_AUTHORITY.split(text.partition("://")[2], maxsplit=1)[0]


def target_of(text: str) -> str:
    """Return path and query as they are written, a trailing `?` too; never the fragment."""
    rest = text.partition("://")[2][len(authority_of(text)) :].partition("#")[0]
    return rest if rest.startswith("/") else f"/{rest}"


def with_password(url: str, password: str) -> str:
    """Return the URL with this password, escaped, in place of any other; raises ValueError if it names no user."""
    scheme, netloc, *rest = urlsplit(url)
    user, _, host = netloc.rpartition("@")
    name = user.partition(":")[0]
    if not name:
        raise ValueError("must name a user when the password is set separately")
    return urlunsplit((scheme, f"{name}:{quote(password, safe='')}@{host}", *rest))


def as_written(text: str) -> URL:
    """Return a URL to be requested as it is written; raises ValueError.

    Only non-ASCII characters, which HTTP cannot carry, are encoded.
    """
    target = _NOT_ASCII.sub(lambda found: quote(found[0]), target_of(text))
    # The whole target is passed as the path, since an empty query would be dropped.
    return URL(text).with_path(target, encoded=True)


def host_as_written(text: str, url: URL) -> str:
    """Return the value of the header `Host`: as it is written, unless that is not ASCII or ends in an empty port."""
    written = authority_of(text)
    return written if written.isascii() and not written.endswith(":") else url.host_port_subcomponent or ""
