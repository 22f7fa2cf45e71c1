"""All routes of the service."""

from typing import Final

from services.codes.api import batches, bulk, exports, imports, jobs, keys, partner, partners, programs, qr, quota

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
)
