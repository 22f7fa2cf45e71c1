"""What the codes service says."""

from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from shared.events.checkout import EventUUID
from shared.events.envelope import EventData, ShortText

SOURCE = "/mintwire/codes"


class CodesGeneratedV1(EventData):
    """A partner's key minted codes; one event per grouped statement and partner."""

    type: ClassVar[str] = "codes.generated"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID
    coupon_id: EventUUID
    codes: list[ShortText]
    code_ids: list[EventUUID]
    expires_at: Annotated[AwareDatetime, Field(strict=False)]
    codes_remaining: int


class CodesBatchCompletedV1(EventData):
    """A batch of codes is complete; its codes are to be had from the job."""

    type: ClassVar[str] = "codes.batch_completed"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    coupon_id: EventUUID
    job_id: EventUUID
    count: int
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None
