"""Archives the endpoints of partners that the codes service has archived.

It reads the published view instead of listening for an event, so nothing can be lost on the way, and an endpoint
created at that very moment is found too.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from services.webhooks.domain.endpoints import Owned, Owner
from services.webhooks.domain.errors import EndpointMissing
from services.webhooks.store import partners
from services.webhooks.store.partners import ArchivedPartner
from services.webhooks.usecases.change_endpoint import ArchiveEndpoint
from shared.clock import Clock
from shared.database.pool import Database
from shared.known_ids import FIRST_ID
from shared.periodic import for_each

FOLLOW_SECONDS: Final = 5.0
# A single partner may have five hundred endpoints.
_PAGE: Final = 50
# How far back each run looks again, for archivals that were committed late and endpoints created meanwhile.
_OVERLAP: Final = timedelta(minutes=10)
_BEGINNING: Final = datetime.fromtimestamp(0, UTC)


class FollowPartners:
    """Runs in every process; what another one has archived meanwhile is skipped."""

    def __init__(self, database: Database, clock: Clock, archive: ArchiveEndpoint) -> None:
        self._database = database
        self._clock = clock
        self._archive = archive
        self._since = _BEGINNING

    async def __call__(self) -> int:
        """Archive what archived partners still own, and return how many endpoints that was.

        The first run of a process looks at all partners that were ever archived, later runs at the latest ones.
        """
        began = self._clock()
        owned = await self._owned()
        await for_each(owned, self._end)
        # Not advanced after a failure, so that what could not be archived is found again.
        self._since = began - _OVERLAP
        return len(owned)

    async def _owned(self) -> list[Owned]:
        found: list[Owned] = []
        last = ArchivedPartner(self._since, FIRST_ID)
        while True:
            async with self._database.connection() as connection:
                page = await partners.list_archived(connection, last, _PAGE)
                found += await partners.list_owned(connection, [each.partner_id for each in page]) if page else []
            if len(page) < _PAGE:
                return found
            last = page[-1]

    async def _end(self, owned: Owned) -> None:
        with suppress(EndpointMissing):
            owner = Owner(owned.program_id, owned.partner_id)
            await self._archive(owner, owned.id, is_listener=owned.is_listener)
