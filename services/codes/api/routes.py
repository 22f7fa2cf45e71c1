"""All routes of the service."""

from typing import Final

from services.codes.api.management import (
    audit_log,
    batches,
    bulk,
    code_orders,
    coupons,
    exports,
    imports,
    jobs,
    keys,
    partners,
    programs,
    promotion_codes,
    qr,
    quota,
    redemption_path,
    stats,
)
from services.codes.api.partner import code_orders as partner_code_orders
from services.codes.api.partner import codes as partner
from services.codes.api.partner import me
from services.codes.api.partner import qr as partner_qr
from services.codes.api.query import coupons as query_coupons
from services.codes.api.query import promotion_codes as promotional_codes
from shared.web.operator import operator_routes

ROUTES: Final = (
    *partner.ROUTES,
    *partner_qr.ROUTES,
    *me.ROUTES,
    *partner_code_orders.ROUTES,
    *programs.ROUTES,
    *partners.ROUTES,
    *quota.ROUTES,
    *code_orders.ROUTES,
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
    *stats.ROUTES,
    *audit_log.ROUTES,
    *operator_routes("codes"),
    *redemption_path.ROUTES,
)
