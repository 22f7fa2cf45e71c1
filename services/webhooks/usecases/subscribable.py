"""Which event types may be subscribed to, and by whom."""

from typing import Final

from services.webhooks.domain.event_types import TEST
from services.webhooks.domain.partner_view import SHOWN
from shared.events import catalogue

PROGRAM_TYPES: Final = catalogue.SUBSCRIBABLE | {TEST}
# A partner gets only its own events, so only types that name a partner.
PARTNER_TYPES: Final = frozenset(SHOWN)
