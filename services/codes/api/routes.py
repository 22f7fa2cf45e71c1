"""All routes of the service."""

from typing import Final

from services.codes.api import (
    audit_log,
    coupons,
    keys,
    partner,
    partners,
    programs,
    promotion_codes,
    promotional_codes,
    query_coupons,
    quota,
)

ROUTES: Final = (
    *partner.ROUTES,
    *programs.ROUTES,
    *partners.ROUTES,
    *quota.ROUTES,
    *keys.ROUTES,
    *coupons.ROUTES,
    *promotion_codes.ROUTES,
    *promotional_codes.ROUTES,
    *query_coupons.ROUTES,
    *audit_log.ROUTES,
)
