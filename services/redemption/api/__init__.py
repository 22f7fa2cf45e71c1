"""HTTP in. The service's own routes; health, metrics and the API document are added by `shared.web`."""

from services.redemption.api.routes import ROUTES

__all__ = ["ROUTES"]
