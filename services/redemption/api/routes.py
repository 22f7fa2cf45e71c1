"""Every route of the service, in the order of the API document."""

from typing import Final

from services.redemption.api import (
    commission_statements,
    customers,
    draft_validations,
    orders,
    redemption_lists,
    redemptions,
    rejections,
    reservations,
    stats,
    validations,
    voids,
)
from shared.web.operator import operator_routes
from shared.web.routes import Route

ROUTES: Final[tuple[Route, ...]] = (
    *validations.ROUTES,
    *draft_validations.ROUTES,
    *reservations.ROUTES,
    *redemption_lists.ROUTES,
    *redemptions.ROUTES,
    *voids.ROUTES,
    *orders.ROUTES,
    *rejections.ROUTES,
    *stats.ROUTES,
    *commission_statements.ROUTES,
    *customers.ROUTES,
    *operator_routes("redemption", cancels_jobs=False),
)
