"""Every route of the service, in the order of the API document."""

from typing import Final

from shared.web.routes import Route

ROUTES: Final[tuple[Route, ...]] = ()
