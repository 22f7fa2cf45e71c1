"""What all pages share: the templates and files, the clients of the services, and the use cases."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from aiohttp import web

from services.dashboard.api.budgets import Budgets
from services.dashboard.api.rendering import Renderer
from services.dashboard.api.security import Origin
from services.dashboard.api.static import Static
from services.dashboard.clients.service import Services
from services.dashboard.usecases.invitations import Invitations
from services.dashboard.usecases.manage_accounts import ManageAccounts
from services.dashboard.usecases.manage_sessions import ManageSessions
from services.dashboard.usecases.own_account import OwnAccount
from services.dashboard.usecases.resets import Resets
from services.dashboard.usecases.sign_in import SignIn
from services.dashboard.usecases.teams import ManageTeams
from services.dashboard.usecases.viewing import FindViewer
from shared.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """What the handlers call of the dashboard's own."""

    find_viewer: FindViewer
    sign_in: SignIn
    sessions: ManageSessions
    own: OwnAccount
    invitations: Invitations
    resets: Resets
    teams: ManageTeams
    accounts: ManageAccounts


USE_CASES: Final = web.AppKey("use_cases", UseCases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One per process."""

    origin: Origin
    codes_public_url: str
    trusted_proxies: int
    # Whether mails can be sent.
    has_mail: bool
    static: Static
    renderer: Renderer
    services: Services
    use_cases: UseCases
    budgets: Budgets
    clock: Clock
    new_id: Callable[[], UUID]
    # The paths of all pages that show something, by which the navigation and redirects know which exist.
    paths: frozenset[str]

    def has_page(self, path: str) -> bool:
        """Return whether there is a page at a path; `{name}` in those that we know stands for any one segment."""
        wanted = path.split("/")
        return any(_fits(known.split("/"), wanted) for known in self.paths)


def _fits(known: list[str], wanted: list[str]) -> bool:
    return len(known) == len(wanted) and all(
        each == segment or (each.startswith("{") and segment) for each, segment in zip(known, wanted, strict=True)
    )
