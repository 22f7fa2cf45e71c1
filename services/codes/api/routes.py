"""All routes of the service."""

from typing import Final

from services.codes.api import audit_log, coupons, keys, partner, partners, programs, promotion_codes, quota

ROUTES: Final = (
    *partner.ROUTES,
    *programs.ROUTES,
    *partners.ROUTES,
    *quota.ROUTES,
    *keys.ROUTES,
    *coupons.ROUTES,
    *promotion_codes.ROUTES,
    *audit_log.ROUTES,
)
