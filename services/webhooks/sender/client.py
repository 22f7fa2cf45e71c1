"""Makes one attempt: signs the stored bytes, POSTs them, and returns the response. It decides nothing."""

import asyncio
import ssl
import time
from contextlib import AsyncExitStack
from functools import lru_cache
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar

from services.webhooks.domain.addresses import Reach, URLRefused
from services.webhooks.domain.certificates import TLSTerms
from services.webhooks.domain.deliveries import MAX_RESPONSE_BYTES, Answer, ErrorCode, Outgoing, printable
from services.webhooks.sender.certificates import make_context
from services.webhooks.sender.guard import (
    DIALLED,
    AddressRefused,
    Dial,
    NotingConnector,
    VettingResolver,
    vetting_socket_factory,
)
from services.webhooks.sender.names import NameService
from services.webhooks.sender.signing import sign
from services.webhooks.sender.urls import CheckedURL, URLChecker
from shared.boundary import refuse_inside_transaction
from shared.clock import Clock
from shared.log import get_logger
from shared.trace import TRACEPARENT, trace_facts

CONNECT_SECONDS: Final = 5.0
# Once the status is known, the rest of a response is worth this much waiting: it is only stored for reading.
BODY_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 5.0
_HEADERS: Final = {"User-Agent": "Mintwire-Webhooks/1.0", "Accept": "*/*", "Accept-Encoding": "identity"}
_MASK: Final = "***"
_REMEMBERED_CONTEXTS: Final = 500
# What is stored of the response headers: enough to see what went wrong.
_KEPT_HEADERS: Final = 50
_KEPT_HEADER_LENGTH: Final = 500
_REACHES: Final[tuple[Reach, ...]] = ("public", "loopback", "development")


class Sender:
    """The HTTP sessions that send all webhooks. Enter it before use."""

    def __init__(
        self,
        urls: URLChecker,
        names: NameService,
        clock: Clock,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.urls = urls
        self._names = names
        self._clock = clock
        self._ssl: ssl.SSLContext | bool = ssl_context or True
        self._contexts: dict[TLSTerms, ssl.SSLContext] = {}
        self._sessions: dict[Reach, ClientSession] = {}
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for reach in _REACHES:
            self._sessions[reach] = await self._exit.enter_async_context(self._session(reach))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    async def post(self, outgoing: Outgoing) -> Answer:
        """POST a body as it is, signed with every key; returns within the timeout, whatever the receiver does."""
        refuse_inside_transaction("A webhook")
        started_at = self._clock()
        started = time.perf_counter()
        status: int | None = None
        error_code: ErrorCode | None = None
        response: aiohttp.ClientResponse | None = None
        answered: float | None = None
        raw: bytes | None = None
        dial = Dial()
        DIALLED.set(dial)
        headers = signed_headers(outgoing, int(started_at.timestamp()))
        try:
            checked = self.urls.check(outgoing.url)
            trust = await self._trust(outgoing.tls)
            # Under load the POSTs of one turn of the event loop take each step together: first all are signed, then all
            # are written. That takes a tenth less CPU than running each to its end, apparently because the code stays
            # in the caches.
            await asyncio.sleep(0)
            response = await self._request(checked, headers, outgoing, dial, trust)
            answered = time.perf_counter()
            await asyncio.sleep(0)
            status = response.status
            raw = await _excerpt(response)
        except URLRefused:
            error_code = "blocked_address"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            error_code = "invalid_answer" if dial.has_flooded else classify(error)
        except Exception as error:  # noqa: BLE001 - a receiver must not be able to end us; arch: allow-broad-except: same
            facts = trace_facts(outgoing.traceparent)
            get_logger().error("webhook_client_failed", message_id=outgoing.message_name, **facts, exc_info=error)
            error_code = "invalid_answer"
        finished = time.perf_counter()
        is_blocked = error_code == "blocked_address"
        return Answer(
            started_at,
            _milliseconds(finished - started),
            status,
            error_code,
            None if raw is None else printable(raw),
            retry_after=None if response is None else response.headers.get("Retry-After"),
            # An address that is not dialled must not be probed, so not even the time that it took is revealed.
            dns_ms=None if dial.dns is None or is_blocked else _milliseconds(dial.dns),
            connect_ms=None if dial.connect is None else _milliseconds(dial.connect),
            tls_ms=None if dial.tls is None else _milliseconds(dial.tls),
            ttfb_ms=None if answered is None else _milliseconds(answered - (dial.ready_at or started)),
            remote_ip=None if is_blocked else dial.address,
            request_headers=_mask_headers(headers, outgoing),
            response_headers=None if response is None else kept_headers(response),
            control=None if response is None else response.headers.get("webhook-delivery"),
        )

    async def _trust(self, terms: TLSTerms | None) -> ssl.SSLContext | bool:
        """Return the TLS context of a connection: the same object for the same terms, so connections are reused."""
        if terms is None:
            return self._ssl
        found = self._contexts.get(terms)
        if found is None:
            made = await asyncio.to_thread(make_context, terms)
            if len(self._contexts) >= _REMEMBERED_CONTEXTS:
                self._contexts.clear()
            found = self._contexts.setdefault(terms, made)
        return found

    async def _request(
        self,
        checked: CheckedURL,
        headers: dict[str, str],
        outgoing: Outgoing,
        dial: Dial,
        trust: ssl.SSLContext | bool,
    ) -> aiohttp.ClientResponse:
        session = self._sessions[checked.reach]
        headers = {**headers, "Host": checked.host}
        timeout = timeout_of(outgoing.timeout_seconds)
        try:
            return await session.post(
                checked.url, data=outgoing.body, headers=headers, allow_redirects=False, timeout=timeout, ssl=trust
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if dial.has_dialled or not _is_silent(error):
                raise
        # The receiver had closed an idle connection as we wrote to it; it has not seen the request.
        return await session.post(
            checked.url, data=outgoing.body, headers=headers, allow_redirects=False, timeout=timeout, ssl=trust
        )

    def _session(self, reach: Reach) -> ClientSession:
        connector = NotingConnector(
            # Our own caps count; a shared pool would let one slow receiver starve the others.
            limit=0,
            ssl=self._ssl,
            resolver=VettingResolver(self._names, reach),
            use_dns_cache=False,
            socket_factory=vetting_socket_factory(reach),
            keepalive_timeout=IDLE_SECONDS,
        )
        return ClientSession(connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False, trust_env=False)


def signed_headers(outgoing: Outgoing, timestamp: int) -> dict[str, str]:
    """Return all headers of a POST, including its signature."""
    headers = {
        **outgoing.headers,
        **_HEADERS,
        "Content-Type": outgoing.content_type,
        "webhook-id": outgoing.message_name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(outgoing.message_name, timestamp, outgoing.body, outgoing.keys),
    }
    if outgoing.sequence is not None:
        headers["webhook-sequence"] = str(outgoing.sequence)
    if outgoing.traceparent is not None:
        headers[TRACEPARENT] = outgoing.traceparent
    return headers


def classify(error: Exception) -> ErrorCode:
    """Name a failure without revealing what is behind an address that we do not dial."""
    if isinstance(error, aiohttp.ClientConnectorDNSError | AddressRefused):
        return "blocked_address"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefused):
        return "blocked_address"
    # With TLS 1.3 a receiver refuses our certificate only after the handshake, when we read its response.
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        return "tls_failed"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "connect_timeout"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect_failed"
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return "connection_lost"
    return "invalid_answer"


def _is_silent(error: Exception) -> bool:
    """Return whether the connection ended without a byte of a response."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return False
    return not isinstance(error, aiohttp.ServerDisconnectedError) or isinstance(error.message, str)


async def _excerpt(response: aiohttp.ClientResponse) -> bytes:
    """Read the beginning of a response and release the connection, or close it if there is more."""
    content = response.content
    if content.is_eof():
        raw = content.read_nowait(MAX_RESPONSE_BYTES) if not content.at_eof() else b""
        response.release()
        return raw
    read = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while len(read) < MAX_RESPONSE_BYTES and (chunk := await content.readany()):
                read += chunk
    except (TimeoutError, aiohttp.ClientError):
        # The status has arrived and decides; the missing part of the body is only missing from the stored response.
        pass
    if content.at_eof():
        response.release()
    else:
        response.close()
    return bytes(read)


@lru_cache(maxsize=64)
def timeout_of(seconds: float) -> ClientTimeout:
    """Return the timeout of a POST, and that of its connection."""
    return ClientTimeout(total=seconds, sock_connect=min(CONNECT_SECONDS, seconds))


def _mask_headers(headers: dict[str, str], outgoing: Outgoing) -> dict[str, str]:
    """Return the headers as they may be stored and shown: without what would let a reader impersonate us."""
    shown = dict(headers)
    shown["webhook-signature"] = " ".join(
        each.partition(",")[0] + "," + _MASK for each in headers["webhook-signature"].split(" ")
    )
    for name in outgoing.secret_headers:
        shown[name] = _MASK
    return shown


def kept_headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the beginning of the response headers as text that the database accepts."""
    kept: dict[str, str] = {}
    for name, value in response.headers.items():
        if len(kept) >= _KEPT_HEADERS:
            break
        kept[_clean(name)] = _MASK if name.lower() == "set-cookie" else _clean(value)
    return kept


def _clean(text: str) -> str:
    short = text[:_KEPT_HEADER_LENGTH]
    # A receiver may send any byte; the client represents invalid UTF-8 as lone surrogates.
    return short if short.isascii() and short.isprintable() else printable(short.encode("utf-8", "surrogateescape"))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
