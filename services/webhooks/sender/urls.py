"""Parses URLs like the HTTP client does, so that what is checked is what is dialled."""

from dataclasses import dataclass
from typing import Final

from yarl import URL

from services.webhooks.domain.addresses import (
    MAX_URL_LENGTH,
    REFUSED,
    Reach,
    URLParts,
    URLRefused,
    is_address,
    is_dialable,
    reach,
)
from services.webhooks.sender.names import NameService
from shared.raw_url import as_written, authority_of, host_as_written, target_of

_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class CheckedURL:
    """A URL that an endpoint may have, requested byte for byte as registered, with the addresses it may lead to."""

    url: URL
    host: str
    reach: Reach


class URLChecker:
    """Checks URLs by their text, and by what their host resolves to at this moment."""

    def __init__(
        self, names: NameService, *, is_development: bool, development_hosts: frozenset[str] = frozenset()
    ) -> None:
        self._names = names
        self._is_development = is_development
        self._development_hosts = development_hosts
        self.checked: dict[str, CheckedURL] = {}

    def check(self, text: str) -> CheckedURL:
        """Parse and check a URL without resolving its host; raises `URLRefused`."""
        found = self.checked.get(text)
        if found is None:
            if len(self.checked) >= _REMEMBERED:
                self.checked.clear()
            found = self.checked[text] = self._check(text)
        return found

    async def vet(self, text: str) -> CheckedURL:
        """Like `check`, but refuse a host that resolves to an internal address now. One that does not resolve passes.

        URLs that are not ASCII are refused as well, because they could not be sent as registered.
        """
        checked = self.check(text)
        if not target_of(text).isascii():
            raise URLRefused("must be percent-encoded after the host: it is sent byte for byte as registered")
        host = checked.url.raw_host or ""
        if is_address(host):
            return checked
        try:
            found = await self._names.addresses(host)
        except (OSError, UnicodeError, ValueError):
            return checked
        if not all(is_dialable(address, checked.reach) for _, address in found):
            raise URLRefused(REFUSED)
        return checked

    def _check(self, text: str) -> CheckedURL:
        if len(text) > MAX_URL_LENGTH:
            raise URLRefused(f"must not have more than {MAX_URL_LENGTH} characters")
        if any(character <= " " or character == "\\" or character == "\x7f" for character in text):
            raise URLRefused("must be a URL without spaces, backslashes or control characters")
        try:
            url = as_written(text)
            parts = URLParts(
                scheme=url.scheme,
                host=(url.raw_host or "").lower(),
                port=url.port or 0,
                # An empty user name is lost once the URL is parsed.
                has_user=url.raw_user is not None or url.raw_password is not None or "@" in authority_of(text),
                has_fragment="#" in text,
            )
        except (ValueError, TypeError):
            raise URLRefused("must be a valid URL") from None
        if not parts.host:
            raise URLRefused("must be an https URL with a host")
        way = reach(parts, is_development=self._is_development, development_hosts=self._development_hosts)
        return CheckedURL(url, host_as_written(text, url), way)
