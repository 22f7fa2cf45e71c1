"""`/v1/promotion-codes/{code}/qr`: a code's link as a QR code, to be printed or shown."""

from typing import Final

from aiohttp import web

from services.codes.api.context import use_cases
from services.codes.api.qr_codes import RESPONSES, QRQuery, qr_response
from services.codes.domain.promotion_codes import CodeRef
from shared.web import Request, Route


async def show(request: Request) -> web.StreamResponse:
    """Draw the QR code."""
    shown = await use_cases(request).read_promotion_codes.one(request.program_id, CodeRef(request.path("code")))
    return qr_response(shown.link_url, shown.code.code, request.query(QRQuery))


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/promotion-codes/{code}/qr",
        handler=show,
        summary="Draw a promotion code's link as a QR code",
        tag="files",
        security="bearer",
        scope="manage",
        family="management",
        query=QRQuery,
        path_descriptions={"code": "The code's id, or the code itself in any spelling."},
        responses=RESPONSES,
    ),
)
