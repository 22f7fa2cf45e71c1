"""Reads coupons."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.codes.domain.coupons import Coupon, CouponFilter, CouponRef
from services.codes.domain.errors import Missing
from services.codes.domain.pages import Page
from services.codes.domain.promotion_codes import ShownCoupon
from services.codes.store import coupons, promotion_codes
from shared.database.pool import Connection, Database

# How many of a coupon's codes are shown with it, the newest; lists of codes have them all.
SHOWN_CODES: Final = 15


@dataclass(frozen=True, slots=True)
class ReadCoupons:
    """One coupon, or a page of a program's coupons, each with the newest of its codes."""

    database: Database

    async def __call__(
        self, program_id: uuid.UUID, wanted: CouponFilter, after: uuid.UUID | None, offset: int, limit: int
    ) -> Page[ShownCoupon]:
        """Return up to `limit` live coupons, newest first, older than `after`, without the first `offset`.

        A page by `is_active` may be short before the end.
        """
        async with self.database.connection() as connection:
            page = await coupons.list_coupons(connection, program_id, wanted, after, offset, limit)
            return Page(await with_codes(connection, program_id, page.items), page.next_after)

    async def one(self, program_id: uuid.UUID, ref: CouponRef) -> ShownCoupon:
        """Return one coupon, by its id even if it is archived; raises Missing."""
        async with self.database.connection() as connection:
            coupon = await coupons.find_coupon(connection, program_id, ref)
            if coupon is None:
                raise Missing
            return (await with_codes(connection, program_id, [coupon]))[0]

    async def by_external_id(self, program_id: uuid.UUID, external_id: str) -> ShownCoupon:
        """Return the live coupon that has this external id; raises Missing."""
        async with self.database.connection() as connection:
            coupon = await coupons.find_by_external_id(connection, program_id, external_id)
            if coupon is None:
                raise Missing
            return (await with_codes(connection, program_id, [coupon]))[0]


async def with_codes(connection: Connection, program_id: uuid.UUID, found: Sequence[Coupon]) -> list[ShownCoupon]:
    """Return each coupon with the newest of its codes."""
    ids = [coupon.id for coupon in found]
    codes = await promotion_codes.newest_of_coupons(connection, program_id, ids, SHOWN_CODES + 1)
    return [
        ShownCoupon(coupon, codes[coupon.id][:SHOWN_CODES], has_more_codes=len(codes[coupon.id]) > SHOWN_CODES)
        for coupon in found
    ]
