"""HTTP in: the service's own routes; `shared.web` adds health, metrics and the API document."""

from services.redemption.api.routes import ROUTES

__all__ = ["ROUTES"]
