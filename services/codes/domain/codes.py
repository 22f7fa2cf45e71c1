"""A partner's codes as the partner sees them."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

CodeStatus = Literal["active", "redeemed", "expired", "inactive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCode:
    """A promotion code of a partner with its uses so far."""

    id: uuid.UUID
    code: str
    link_url: str
    status: CodeStatus
    times_redeemed: int
    last_redeemed_at: datetime | None
    expires_at: datetime | None
    created_at: datetime
    reference: str | None
