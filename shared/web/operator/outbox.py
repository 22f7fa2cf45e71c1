"""`/v1/operator/{service}/outbox`: the events that no broker has confirmed yet."""

from typing import Final

from aiohttp import web
from pydantic import Field

from shared.web.models import Data, Moment, ResponseModel
from shared.web.operator.context import COMMON, OPERATING, act_of
from shared.web.request import Request
from shared.web.responses import data_response
from shared.web.routes import Routes


class OutboxData(ResponseModel):
    """The events that wait to be published, over all replicas. Counted up to 10,000."""

    waiting: int = Field(description="Events that no broker has confirmed. Under load, some are always in flight.")
    refused: int = Field(
        description="Those of them that the broker refused, and that are tried again within two minutes. In the last "
        "ten seconds before that they are not counted here."
    )
    oldest_at: Moment | None = Field(description="When the oldest counted event was written.")


class RetriedData(ResponseModel):
    """The result of another try."""

    retried: int = Field(description="Refused events that are now due; at most 10,000.")


ROUTES: Final = Routes("/outbox", **COMMON)


@ROUTES.get("", Data[OutboxData])
async def show_outbox(request: Request) -> web.StreamResponse:
    """Count the events that wait to be published."""
    return data_response(OutboxData.of(await request.dependency(OPERATING).outbox.state()))


@ROUTES.post("/retry", Data[RetriedData])
async def retry(request: Request) -> web.StreamResponse:
    """Publish refused events again within a second, instead of within two minutes.

    Use it once the full queue has room again, or the binding is back. Everything else is published as soon as the
    broker is there.
    """
    return data_response(RetriedData(retried=await request.dependency(OPERATING).outbox.retry(act_of(request))))
