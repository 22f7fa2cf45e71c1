"""All routes of the service."""

from typing import Final

from services.codes.api import (
    audit_log,
    batches,
    bulk,
    coupons,
    exports,
    imports,
    jobs,
    keys,
    partner,
    partners,
    programs,
    promotion_codes,
    promotional_codes,
    qr,
    query_coupons,
    quota,
    redemption_path,
)
from shared.web.operator import operator_routes

ROUTES: Final = (
    *partner.ROUTES,
    *programs.ROUTES,
    *partners.ROUTES,
    *quota.ROUTES,
    *keys.ROUTES,
    *batches.ROUTES,
    *jobs.ROUTES,
    *exports.ROUTES,
    *imports.ROUTES,
    *bulk.ROUTES,
    *qr.ROUTES,
    *coupons.ROUTES,
    *promotion_codes.ROUTES,
    *promotional_codes.ROUTES,
    *query_coupons.ROUTES,
    *audit_log.ROUTES,
    *operator_routes("codes"),
    *redemption_path.ROUTES,
)
