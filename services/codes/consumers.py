"""Events in: redeemed and voided codes, from the queue `codes.redemptions`, for the uses shown on codes."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.usage import Usage, UsageReport
from services.codes.usecases.record_usage import RecordUsage
from shared.broker.messages import Received, Reject
from shared.broker.reading import settle
from shared.events.envelope import InvalidEvent, decode_data, decode_envelope
from shared.events.redemption import CodeRedeemedV1, CodeRedemptionVoidedV1
from shared.modes import in_mode


@dataclass(frozen=True, slots=True)
class RedemptionsHandler:
    """Handles one batch: rejects invalid events, and passes the rest to the use case together."""

    record_usage: RecordUsage

    async def __call__(self, batch: Sequence[Received]) -> list[Reject | None]:
        """Return one outcome per message."""
        return await settle(batch, _report, self.record_usage)


def _report(received: Received) -> UsageReport:
    envelope = decode_envelope(received.body)
    data: CodeRedeemedV1 | CodeRedemptionVoidedV1
    if envelope.type == CodeRedeemedV1.type:
        data = decode_data(envelope, CodeRedeemedV1)
        redeemed_at = data.occurred_at
    elif envelope.type == CodeRedemptionVoidedV1.type:
        data = decode_data(envelope, CodeRedemptionVoidedV1)
        redeemed_at = data.redeemed_at
    else:
        raise InvalidEvent(
            "unexpected_type", f"The type member must be one that this queue takes, not {envelope.type[:200]}."
        )
    return UsageReport(
        envelope.source,
        envelope.id,
        hashlib.sha256(received.body).digest(),
        received.first_received_at,
        Usage(data.code_id, _tenant(data), data.times_redeemed, data.times_redeemed_version, redeemed_at),
        _coupon_usage(data, redeemed_at),
    )


def _coupon_usage(data: CodeRedeemedV1 | CodeRedemptionVoidedV1, redeemed_at: datetime) -> Usage | None:
    count, version = data.coupon_times_redeemed, data.coupon_times_redeemed_version
    if count is None or version is None:
        return None
    return Usage(data.coupon_id, _tenant(data), count, version, redeemed_at)


def _tenant(data: CodeRedeemedV1 | CodeRedemptionVoidedV1) -> uuid.UUID:
    return in_mode(data.program_id, test=data.is_test)
