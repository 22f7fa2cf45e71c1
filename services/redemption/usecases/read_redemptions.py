"""Shows redemptions: one, or a page of those that match a filter."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.redemption.domain.books import Redemption
from services.redemption.domain.errors import Missing
from services.redemption.domain.listing import Place, RedemptionFilter, RedemptionPage
from services.redemption.store import redemptions
from shared.bounded_counts import BoundedCount, bounded_count
from shared.canonical import canonical_code
from shared.database.pool import Connection, Database

EXPORTED_AT_ONCE: Final = 500
_ID_LENGTH: Final = 36


@dataclass(frozen=True, slots=True)
class ReadRedemptions:
    """Reads committed data of one program."""

    database: Database

    async def one(self, program_id: uuid.UUID, redemption_id: uuid.UUID) -> Redemption:
        """Return one redemption; raises Missing."""
        async with self.database.connection() as connection:
            found = await redemptions.read_redemptions(connection, program_id, [redemption_id])
        if not found:
            raise Missing
        return found[0]

    async def counts(self, redemption: Redemption) -> tuple[int, int | None]:
        """Return the present uses of a redemption's code and coupon; None if the coupon's are not counted."""
        async with self.database.connection() as connection:
            return await redemptions.read_counts(connection, redemption.code_id, redemption.coupon_id)

    async def __call__(
        self,
        wanted: RedemptionFilter,
        code: str | None,
        coupon: str | None,
        last: Place | None,
        limit: int,
    ) -> RedemptionPage:
        """Return up to `limit` redemptions after the last one, latest first.

        `code` may have any spelling, `coupon` is an id or a uuid_code.
        """
        async with self.database.connection() as connection:
            resolved = await _resolved(connection, wanted, code, coupon)
            if resolved is None:
                return RedemptionPage((), None)
            return await redemptions.list_redemptions(connection, resolved, last, limit)

    async def pages(
        self, wanted: RedemptionFilter, code: str | None, coupon: str | None
    ) -> AsyncIterator[Sequence[Redemption]]:
        """Yield all of a list, page by page; between pages no connection is held."""
        async with self.database.connection() as connection:
            resolved = await _resolved(connection, wanted, code, coupon)
        last: Place | None = None
        while resolved is not None:
            async with self.database.connection() as connection:
                page = await redemptions.list_redemptions(connection, resolved, last, EXPORTED_AT_ONCE)
            if page.redemptions:
                yield page.redemptions
            last = page.next_after
            if last is None:
                return

    async def count(self, wanted: RedemptionFilter, code: str | None, coupon: str | None) -> BoundedCount:
        """Count the redemptions of a list."""
        async with self.database.connection() as connection:
            resolved = await _resolved(connection, wanted, code, coupon)
            if resolved is None:
                return bounded_count(0, is_whole=True)
            return await redemptions.count_redemptions(connection, resolved)


async def _resolved(
    connection: Connection, wanted: RedemptionFilter, code: str | None, coupon: str | None
) -> RedemptionFilter | None:
    """Return the filter with the codes and the coupon that are named; None if a name finds nothing."""
    if coupon is not None:
        coupon_id = await coupon_named(connection, wanted.program_id, coupon)
        if coupon_id is None:
            return None
        wanted = replace(wanted, coupon_id=coupon_id)
    if code is not None:
        try:
            canonical = canonical_code(code)
        except ValueError:
            return None
        wanted = replace(wanted, code_ids=await redemptions.find_codes(connection, wanted.program_id, canonical))
    return wanted


async def coupon_named(connection: Connection, program_id: uuid.UUID, named: str) -> uuid.UUID | None:
    """Return the coupon with an id or a uuid_code; None if there is none."""
    try:
        if len(named) == _ID_LENGTH:
            return uuid.UUID(named)
    except ValueError:
        pass
    return await redemptions.find_coupon(connection, program_id, named)
