"""Lists refused tries, over HTTP and in events."""

from dataclasses import dataclass, replace

from services.redemption.domain.listing import Place
from services.redemption.domain.rejections import RejectionFilter, RejectionPage
from services.redemption.store.rejections import list_rejections
from shared.canonical import canonical_code
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ReadRejections:
    """Reads committed data of one program."""

    database: Database

    async def __call__(
        self, wanted: RejectionFilter, code: str | None, last: Place | None, limit: int
    ) -> RejectionPage:
        """Return up to `limit` refused tries after the last one, latest first; `code` in any spelling."""
        if code is not None:
            wanted = replace(wanted, canonical=_looked_for(code))
        async with self.database.connection() as connection:
            return await list_rejections(connection, wanted, last, limit)


def _looked_for(code: str) -> str:
    try:
        return canonical_code(code)
    except ValueError:
        return code
