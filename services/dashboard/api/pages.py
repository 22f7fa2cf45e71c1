"""How a page is declared: its path, the action that it needs, and its handler."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.domain.permissions import ACTIONS
from shared.accounts import Role

Handler = Callable[[Page], Awaitable[web.StreamResponse]]
_ROLES: Final = frozenset(get_args(Role))


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRoute:
    """One method on one path.

    `action` is that of the permissions; without one every signed-in account may, or with `is_public` anybody. The role
    is the first word of the path, where that is a role. `is_fresh` asks for the password first, if it was not given
    within the last ten minutes. `hides_referrer` is for addresses that hold a secret.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    action: str | None = None
    is_public: bool = False
    is_fresh: bool = False
    hides_referrer: bool = False

    @property
    def role(self) -> str | None:
        """The role that it is for; None for all."""
        first = self.path.split("/")[1]
        return first if first in _ROLES else None


class Pages:
    """The pages of one file."""

    def __init__(self) -> None:
        self.all: list[PageRoute] = []

    def get(self, path: str, action: str | None = None, **more: bool) -> Callable[[Handler], Handler]:
        """Declare a page that shows something and changes nothing; `more` are members of `PageRoute`."""
        return self._declare("GET", path, action, **more)

    def post(self, path: str, action: str | None = None, **more: bool) -> Callable[[Handler], Handler]:
        """Declare what a form does."""
        return self._declare("POST", path, action, **more)

    def _declare(
        self, method: Literal["GET", "POST"], path: str, action: str | None, **more: bool
    ) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            self._add(PageRoute(method=method, path=path, handler=handler, action=action, **more))
            return handler

        return add

    def _add(self, route: PageRoute) -> None:
        if route.action is not None and route.action not in ACTIONS:
            raise ValueError(f"{route.path}: there is no action {route.action}")
        if route.role is not None and route.action is None:
            raise ValueError(f"{route.path}: a page of a role names its action")
        self.all.append(route)
