"""`/api/partners/codes/{code}/qr`: the link of a partner's code as a QR code, to be printed or shown."""

from typing import Final

from aiohttp import web

from services.codes.api.context import use_cases
from services.codes.api.qr_codes import RESPONSES, QRQuery, qr_response
from shared.web import Request, Route


async def show(request: Request) -> web.StreamResponse:
    """Draw the QR code."""
    code = await use_cases(request).read_codes.one(request.program_id, request.partner_id, request.path("code"))
    return qr_response(code.link_url, code.code, request.query(QRQuery))


ROUTES: Final = (
    Route(
        method="GET",
        path="/api/partners/codes/{code}/qr",
        handler=show,
        summary="Draw the link of one of your codes as a QR code",
        tag="partner",
        security="partner_key",
        scope="codes:read",
        family="partner",
        query=QRQuery,
        path_descriptions={"code": "The code's id, or the code itself in any spelling."},
        responses=RESPONSES,
    ),
)
