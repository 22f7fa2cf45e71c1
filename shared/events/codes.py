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


class QuotaLowV1(EventData):
    """A mint left a partner as many codes as its threshold or fewer; said once, until it has been above again."""

    type: ClassVar[str] = "quota.low"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID
    codes_remaining: int
    threshold: int


class QuotaExhaustedV1(EventData):
    """A mint took the last code of a partner's quota."""

    type: ClassVar[str] = "quota.exhausted"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID
