"""`/v1/promotion-codes/{code}/qr`: a code's link as a QR code, to be printed or shown."""

import io
from typing import Final, Literal

import segno
from aiohttp import web
from pydantic import Field

from services.codes.api.exchange import use_cases
from services.codes.domain.minting import code_link
from services.codes.domain.promotion_codes import CodeRef
from shared.web import HTTPProblem, QueryInt, QueryModel, Request, Route

_CONTENT_TYPES: Final = {"svg": "image/svg+xml", "png": "image/png"}
# The white border in modules, which readers need.
_BORDER: Final = 4


class QRQuery(QueryModel):
    """The form of the image."""

    format: Literal["svg", "png"] = "svg"
    scale: QueryInt = Field(8, ge=1, le=32, description="Pixels per module.")


async def show(request: Request) -> web.StreamResponse:
    """Draw the QR code."""
    query = request.query(QRQuery)
    shown = await use_cases(request).read_promotion_codes.one(request.program_id, CodeRef(request.path("code")))
    link = code_link(shown.link_url, shown.code.code)
    if link is None:
        raise HTTPProblem(
            409, "link_url_missing", "The program has no link_url, so its codes have no links; set its link_url first."
        )
    made = _qr_code(link)
    drawn = io.BytesIO()
    if query.format == "svg":
        made.save(drawn, kind="svg", scale=query.scale, border=_BORDER, light="white")
    else:
        made.save(drawn, kind="png", scale=query.scale, border=_BORDER)
    return web.Response(body=drawn.getvalue(), headers={"Content-Type": _CONTENT_TYPES[query.format]})


def _qr_code(link: str) -> segno.QRCode:
    """Make the image at the highest error correction at which the link fits; long links need a low one."""
    try:
        return segno.make_qr(link, error="m")
    except segno.DataOverflowError:
        try:
            return segno.make_qr(link, error="l")
        except segno.DataOverflowError:
            detail = "The code's link is too long for a QR code; shorten the program's link_url."
            raise HTTPProblem(409, "link_too_long", detail) from None


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
        responses={
            200: "The picture",
            404: "No such code",
            409: "The program has no `link_url` (`link_url_missing`), or the link is too long for a QR code "
            "(`link_too_long`)",
        },
    ),
)
