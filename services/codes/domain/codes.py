"""A partner's codes as the partner sees them."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

CodeStatus = Literal["active", "redeemed", "expired", "inactive"]


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A promotion code of a partner with its use so far; `limit` is None where it can be used without end."""

    id: uuid.UUID
    code: str
    link_url: str
    status: CodeStatus
    times_redeemed: int
    limit: int | None
    last_redeemed_at: datetime | None
    expires_at: datetime | None
    created_at: datetime
    reference: str | None
