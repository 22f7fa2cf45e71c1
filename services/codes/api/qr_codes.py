"""Draws a code's link as a QR code, for the families that show one."""

import io
from typing import Any, Final, Literal

import segno
from aiohttp import web
from pydantic import Field

from services.codes.domain.minting import code_link
from shared.web import HTTPProblem, QueryInt, QueryModel

_CONTENT_TYPES: Final = {"svg": "image/svg+xml", "png": "image/png"}
# The white border in modules, which readers need.
_BORDER: Final = 4
RESPONSES: Final[dict[int, Any]] = {
    200: "The picture",
    404: "No such code",
    409: "The program has no `link_url` (`link_url_missing`), or the link is too long for a QR code (`link_too_long`)",
}


class QRQuery(QueryModel):
    """The form of the image."""

    format: Literal["svg", "png"] = "svg"
    scale: QueryInt = Field(8, ge=1, le=32, description="Pixels per module.")


def qr_response(link_url: str, code: str, query: QRQuery) -> web.Response:
    """Return the image of a code's link; raises the 409 for a program without an address or with too long a one."""
    link = code_link(link_url, code)
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
