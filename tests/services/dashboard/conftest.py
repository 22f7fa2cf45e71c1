"""The dashboard on a real socket with a database of its own; the services that it asks are away."""

import re
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr

from mintwire.stack import ports
from mintwire.stack.dashboard_keys import signing_key
from services.dashboard.app import build_app, build_site, build_use_cases
from services.dashboard.clients.mail import Mail, Mailer
from services.dashboard.clients.service import build_services
from services.dashboard.config import DashboardSettings
from services.dashboard.domain.accounts import Owner
from services.dashboard.store import accounts
from services.dashboard.usecases.passwords import Passwords
from services.dashboard.usecases.post_office import PostOffice
from shared.account_tokens import Signer
from shared.accounts import Grade, Role
from shared.clock import utc_now
from shared.database.pool import Database as Pool
from shared.database.pool import connect
from shared.ids import new_id
from shared.process import serve_http
from shared.web.health import Report
from tests.databases import Database
from tests.running import DASHBOARD_SEED

PASSWORD = "correct horse battery"
PROGRAM, PARTNER = uuid.uuid4(), uuid.uuid4()
OPERATOR_TOKEN = "operator-token-for-tests"
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')
# Parameters only make it quick; what it is checked with is the library's.
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class HeldClock:
    """A clock that stands still until the test moves it."""

    now: datetime = field(default_factory=utc_now)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    text: str
    set_cookies: list[str]

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")


@dataclass
class Browser:
    """Keeps cookies and sends forms as a browser does, without following redirects."""

    http: aiohttp.ClientSession
    url: str
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""

    async def get(self, path: str, **headers: str) -> Reply:
        return await self._ask("GET", path, headers)

    async def post(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> Reply:
        """Send a form with the token of the last page, as from that page."""
        own = {"csrf": self.csrf, **(form or {})}
        return await self._ask("POST", path, {"Sec_Fetch_Site": "same-origin", "Origin": self.url, **headers}, own)

    async def raw(self, method: str, path: str, headers: Mapping[str, str], form: Mapping[str, str]) -> Reply:
        """Send exactly this."""
        return await self._ask(method, path, headers, form)

    async def sign_in(self, email: str, password: str = PASSWORD, target: str = "") -> Reply:
        await self.get("/sign-in")
        return await self.post("/sign-in", {"email": email, "password": password, "next": target})

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value}
        sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        async with self.http.request(method, self.url + path, headers=sent, data=form, allow_redirects=False) as answer:
            for name, morsel in answer.cookies.items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
            text = await answer.text()
            if found := _CSRF.search(text):
                self.csrf = found[1]
            return Reply(answer.status, answer.headers, text, answer.headers.getall("Set-Cookie", []))


@dataclass
class Dashboard:
    """One replica of the dashboard."""

    url: str
    pool: Pool
    clock: HeldClock
    http: aiohttp.ClientSession
    mails: list[Mail]

    def browser(self) -> Browser:
        return Browser(self.http, self.url)

    async def account(
        self,
        email: str = "mara@northwind.example",
        role: Role = "merchant",
        grade: Grade = "change",
        program_id: uuid.UUID = PROGRAM,
        partner_id: uuid.UUID = PARTNER,
        password: str | None = PASSWORD,
    ) -> uuid.UUID:
        """Create an account with one membership."""
        account_id = uuid.uuid4()
        hashed = None if password is None else QUICK.hash(password)
        owner = Owner(
            role,
            None if role == "operator" else program_id,
            partner_id if role == "partner" else None,
            "Aurora Cards",
            "Northwind Gifts" if role == "partner" else "",
            "Europe/Berlin",
        )
        async with self.pool.transaction() as connection:
            assert await accounts.insert_account(connection, account_id, email, "Mara", hashed, self.clock())
            await accounts.insert_membership(connection, new_id(), account_id, grade, owner, self.clock())
        return account_id

    async def signed_in(self, email: str = "mara@northwind.example", **account: Any) -> Browser:
        """Return a browser that is signed in to a new account, with the token of its forms."""
        await self.account(email, **account)
        browser = self.browser()
        assert (await browser.sign_in(email)).status == 303
        await browser.get("/account")
        return browser

    async def count(self, table: str, condition: str = "true") -> int:
        async with self.pool.connection() as connection:
            return int(await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {condition}"))  # noqa: S608 - ours


class KeptMails(PostOffice):
    """Takes mails as a mail server would, and keeps them."""

    def __init__(self, mails: list[Mail], *, is_open: bool) -> None:
        host = "mail.example" if is_open else ""
        super().__init__(Mailer(host=host, port=25, user="", password="", security="none", sender="no-reply@x.example"))
        self._mails = mails

    async def send(self, to: str, written: tuple[str, str]) -> bool:
        if self.is_open:
            self._mails.append(Mail(to, *written))
        return self.is_open

    def post(self, to: str, written: tuple[str, str]) -> None:
        if self.is_open:
            self._mails.append(Mail(to, *written))


@asynccontextmanager
async def running_dashboard(
    database: Database,
    clock: HeldClock,
    *,
    has_mail: bool = False,
    port: int = 0,
    urls: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[Dashboard]:
    """Serve the dashboard; with another's `port` in its address it is a replica of that one.

    It asks the services at `urls`; the others are away.
    """
    own = ports.free_port([], [])
    url = f"http://127.0.0.1:{port or own}"
    given = DashboardSettings(
        database_url=SecretStr(database.dashboard),
        signing_key=SecretStr(signing_key(DASHBOARD_SEED)),
        public_url=url,
        smtp_host="mail.example" if has_mail else "",
        mail_from="no-reply@x.example",
        **settings,
    )
    signer = Signer.parse(given.signing_key.get_secret_value())
    mails: list[Mail] = []
    # Nothing listens at the discard port.
    asked = dict.fromkeys(("codes", "redemption", "webhooks"), "http://127.0.0.1:9") | dict(urls or {})
    async with (
        connect(database.dashboard, "dashboard", 8) as pool,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        services = build_services(asked, http, signer, clock)
        cases = build_use_cases(
            pool, services, Passwords(QUICK), KeptMails(mails, is_open=has_mail), given.public_url, clock
        )

        async def ready() -> Report:
            return Report({})

        app = build_app(build_site(given, services, cases, clock), ready, OPERATOR_TOKEN)
        async with serve_http(app, "127.0.0.1", own):
            yield Dashboard(f"http://127.0.0.1:{own}", pool, clock, http, mails)


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
async def dashboard(database: Database, clock: HeldClock) -> AsyncIterator[Dashboard]:
    async with running_dashboard(database, clock) as running:
        yield running


@pytest.fixture
async def mailing(database: Database, clock: HeldClock) -> AsyncIterator[Dashboard]:
    """A dashboard that can send mails."""
    async with running_dashboard(database, clock, has_mail=True) as running:
        yield running
