"""What protects every page: response headers, cookies, the Host list, and proof that a form is ours."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

# People pay at Stripe, where a form of ours sends them by a redirect.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self' https://checkout.stripe.com; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types default"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), clipboard-write=(self), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
    "Vary": "HX-Request, Cookie",
}
HSTS: Final = "max-age=31536000"
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "X-CSRF-Token"
_FETCH_SITE: Final = "Sec-Fetch-Site"
_DEVICE_SECONDS: Final = 400 * 86_400
_THEME_SECONDS: Final = 400 * 86_400
_MOST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Origin:
    """The address that browsers use; everything about cookies and origins follows from it."""

    url: str

    @property
    def is_secure(self) -> bool:
        """Whether it is https."""
        return self.url.startswith("https:")

    @property
    def host(self) -> str:
        """The Host header of our requests."""
        return urlsplit(self.url).netloc.lower()

    def cookie(self, purpose: str = "") -> str:
        """Return the name of a cookie.

        Cookies ignore ports, so on plain HTTP the name has the port: two stacks side by side would sign each other out.
        """
        name = f"-{purpose}" if purpose else ""
        if self.is_secure:
            return f"__Host-mw{name}"
        return f"mw-dev-{urlsplit(self.url).port or 80}{name}"

    def admits(self, http: web.Request) -> bool:
        """Return whether a request names this host."""
        return http.headers.get(hdrs.HOST, "").lower() == self.host

    def is_own_form(self, http: web.Request) -> bool:
        """Return whether the browser says that a request comes from our own pages.

        `same-site` is another port or subdomain, and refused. Old browsers send no `Sec-Fetch-Site`, but an Origin.
        """
        site = http.headers.get(_FETCH_SITE)
        if site is not None:
            return site == "same-origin"
        return http.headers.get(hdrs.ORIGIN, "").lower() == self.url.lower()

    def set_cookie(self, response: web.StreamResponse, purpose: str, value: str) -> None:
        """Set a cookie that only we read; the ones for the device and the theme outlive the browser."""
        lasting = {"device": _DEVICE_SECONDS, "theme": _THEME_SECONDS}
        response.set_cookie(
            self.cookie(purpose),
            value,
            max_age=lasting.get(purpose),
            path="/",
            secure=self.is_secure,
            httponly=True,
            samesite="Lax",
        )

    def clear_cookie(self, response: web.StreamResponse, purpose: str) -> None:
        """Remove a cookie."""
        response.del_cookie(self.cookie(purpose), path="/", secure=self.is_secure, httponly=True, samesite="Lax")


def csrf_token(secret: str) -> str:
    """Return what forms carry: only a browser with the cookie and our page can know it."""
    return hmac.digest(secret.encode(), b"form", hashlib.sha256).hex()


def is_csrf_token(given: str, secret: str) -> bool:
    """Return whether a form's token belongs to the cookie."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), csrf_token(secret).encode())


def is_path(text: str) -> bool:
    """Return whether a text is a path of ours that it is safe to redirect to: no host, no scheme, no tricks."""
    if not text.startswith("/") or text.startswith("//") or not text.isascii() or not text.isprintable():
        return False
    return "\\" not in text and " " not in text
