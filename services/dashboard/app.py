"""The composition root: opens what the service needs, wires it, and runs its parts until stopped."""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import aiohttp
from aiohttp import hdrs, web

from services.dashboard.api.budgets import Budgets
from services.dashboard.api.errors import translate
from services.dashboard.api.rendering import Renderer
from services.dashboard.api.routes import PAGES, ROUTES
from services.dashboard.api.security import Origin
from services.dashboard.api.serving import PageEndpoint, serve_static, unmatched
from services.dashboard.api.site import USE_CASES, Site, UseCases
from services.dashboard.api.static import PREFIX, Static
from services.dashboard.clients.mail import Mailer
from services.dashboard.clients.service import Services, build_services
from services.dashboard.config import DashboardSettings, read_signer
from services.dashboard.usecases.invitations import Invitations
from services.dashboard.usecases.manage_accounts import ManageAccounts
from services.dashboard.usecases.manage_sessions import ManageSessions
from services.dashboard.usecases.own_account import OwnAccount
from services.dashboard.usecases.owners import FindOwner
from services.dashboard.usecases.passwords import Passwords
from services.dashboard.usecases.post_office import PostOffice
from services.dashboard.usecases.remove_old import removals
from services.dashboard.usecases.resets import Resets
from services.dashboard.usecases.sign_in import SignIn
from services.dashboard.usecases.teams import ManageTeams
from services.dashboard.usecases.viewing import FindViewer
from shared.api_keys import Credential
from shared.clock import Clock, utc_now
from shared.database import pool
from shared.database.pool import Database
from shared.database.purging import INTERVAL_SECONDS
from shared.ids import new_id
from shared.periodic import Periodic
from shared.process import serve_http, supervise
from shared.web import build_application
from shared.web.health import Ready, Report

SERVICE: Final = "dashboard"
_CONNECTIONS: Final = 100


async def run(settings: DashboardSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then finish the requests in hand, and close in reverse order."""
    signer = read_signer(settings.signing_key)
    async with (
        pool.connect(settings.database_url.get_secret_value(), SERVICE, settings.database_pool_size) as database,
        # Answers are never read from a cache of cookies: each call states who acts by itself.
        aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, limit_per_host=_CONNECTIONS),
            auto_decompress=True,
        ) as http,
    ):
        services = build_services(service_urls(settings), http, signer, utc_now)
        kept = timedelta(days=settings.activity_retention_days)
        tasks = [Periodic(f"purge_{each.table}", INTERVAL_SECONDS, each) for each in removals(database, utc_now, kept)]

        async def ready() -> Report:
            parts = {"database": await database.state()}
            return Report(parts, {task.name: task.state for task in tasks})

        passwords, post = Passwords(), PostOffice(build_mailer(settings))
        use_cases = build_use_cases(database, services, passwords, post, settings.public_url, utc_now)
        app = build_app(build_site(settings, services, use_cases, utc_now), ready, settings.operator_token_text())
        async with serve_http(app, settings.host, settings.port) as server:
            parts = {"mails": post.run(), **{task.name: task.run() for task in tasks}}
            await supervise(parts, stop, server.close)


def build_mailer(settings: DashboardSettings) -> Mailer:
    """Wire the mail server; does no I/O."""
    return Mailer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        user=settings.smtp_user,
        password=settings.smtp_password.get_secret_value() if settings.smtp_password else "",
        security=settings.smtp_security,
        sender=settings.mail_from,
    )


def build_use_cases(
    database: Database, services: Services, passwords: Passwords, post: PostOffice, public_url: str, clock: Clock
) -> UseCases:
    """Wire what the handlers call; does no I/O."""
    return UseCases(
        find_viewer=FindViewer(database, clock),
        sign_in=SignIn(database, clock, new_id, passwords),
        sessions=ManageSessions(database, clock, new_id, passwords),
        own=OwnAccount(database, clock),
        invitations=Invitations(database, clock, new_id, passwords, post, public_url),
        resets=Resets(database, clock, new_id, passwords, post, public_url),
        teams=ManageTeams(database, clock),
        accounts=ManageAccounts(database, clock, new_id, passwords, FindOwner(services.codes)),
    )


def service_urls(settings: DashboardSettings) -> Mapping[str, str]:
    """Return the addresses of the services."""
    return {"codes": settings.codes_url, "redemption": settings.redemption_url, "webhooks": settings.webhooks_url}


def build_site(settings: DashboardSettings, services: Services, use_cases: UseCases, clock: Clock) -> Site:
    """Wire what the pages share; reads templates and files."""
    static = Static()
    return Site(
        origin=Origin(settings.public_url),
        codes_public_url=settings.codes_public_url,
        trusted_proxies=settings.trusted_proxies,
        has_mail=bool(settings.smtp_host),
        static=static,
        renderer=Renderer(static),
        services=services,
        use_cases=use_cases,
        budgets=Budgets(time.monotonic),
        clock=clock,
        new_id=new_id,
        paths=frozenset(route.path for route in PAGES if route.method == hdrs.METH_GET),
    )


def build_app(site: Site, ready: Ready, operator_token: str | None) -> web.Application:
    """Wire the HTTP side; does no I/O."""
    app = build_application(
        SERVICE,
        ROUTES,
        authenticate=_no_keys,
        ready=ready,
        title="Mintwire dashboard",
        version="1",
        operator_token=operator_token,
        translate=translate,
        pages=[
            *((route.method, route.path, PageEndpoint(route, site).serve) for route in PAGES),
            *(
                (hdrs.METH_HEAD, route.path, PageEndpoint(route, site).serve)
                for route in PAGES
                if route.method == "GET"
            ),
            (hdrs.METH_GET, f"{PREFIX}{{path:.+}}", serve_static(site)),
        ],
        unmatched=unmatched(site),
    )
    app[USE_CASES] = site.use_cases
    return app


async def _no_keys(_: str) -> Credential | None:
    """Know no API key: the dashboard is for people, and for the operator's token."""
    return None
