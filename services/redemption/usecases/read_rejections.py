"""Lists refused tries, over HTTP and in events."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.redemption.domain.listing import Place
from services.redemption.domain.rejections import Rejection, RejectionFilter, RejectionPage
from services.redemption.store.rejections import count_rejections, list_rejections
from shared.bounded_counts import BoundedCount
from shared.canonical import canonical_code
from shared.database.pool import Database

EXPORTED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class ReadRejections:
    """Reads committed data of one program."""

    database: Database

    async def __call__(
        self, wanted: RejectionFilter, code: str | None, last: Place | None, limit: int
    ) -> RejectionPage:
        """Return up to `limit` refused tries after the last one, latest first; `code` in any spelling."""
        async with self.database.connection() as connection:
            return await list_rejections(connection, _resolved(wanted, code), last, limit)

    async def pages(self, wanted: RejectionFilter, code: str | None) -> AsyncIterator[Sequence[Rejection]]:
        """Yield all of a list, page by page; between pages no connection is held."""
        resolved, last = _resolved(wanted, code), None
        while True:
            async with self.database.connection() as connection:
                page = await list_rejections(connection, resolved, last, EXPORTED_AT_ONCE)
            if page.rejections:
                yield page.rejections
            last = page.next_after
            if last is None:
                return

    async def count(self, wanted: RejectionFilter, code: str | None) -> BoundedCount:
        """Count the refused tries of a list."""
        async with self.database.connection() as connection:
            return await count_rejections(connection, _resolved(wanted, code))


def _resolved(wanted: RejectionFilter, code: str | None) -> RejectionFilter:
    if code is None:
        return wanted
    try:
        return replace(wanted, canonical=canonical_code(code))
    except ValueError:
        return replace(wanted, canonical=code)
