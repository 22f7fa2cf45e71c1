"""Reads promotion codes as their program sees them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.codes.domain.errors import Missing
from services.codes.domain.promotion_codes import CodeFilter, CodeRef, CodesPage, PromotionCode, ShownCode
from services.codes.store import coupons, partners, programs, promotion_codes
from services.codes.store.code_lists import Part
from services.codes.usecases.find_codes import count_codes, find_code, find_page
from shared.bounded_counts import BoundedCount
from shared.clock import Clock
from shared.database.pool import Connection, Database


@dataclass(frozen=True, slots=True)
class ReadPromotionCodes:
    """One code by any of its names, or a page of codes."""

    database: Database
    clock: Clock

    async def __call__(
        self, program_id: uuid.UUID, wanted: CodeFilter, after: uuid.UUID | None, offset: int, limit: int
    ) -> CodesPage:
        """Return up to `limit` matching live codes after the one with an id, without the first `offset`.

        Newest first, or with a prefix in the order of the strings; a page may be short before the end.
        """
        async with self.database.connection() as connection:
            page = await find_page(connection, program_id, wanted, Part(after, offset, limit), self.clock())
            codes = {code.id: code for code in await promotion_codes.read_codes(connection, program_id, page.ids)}
            in_order = [codes[code_id] for code_id in page.ids if code_id in codes]
            return CodesPage(await with_owners(connection, program_id, in_order), page.next_after)

    async def count(self, program_id: uuid.UUID, wanted: CodeFilter) -> BoundedCount:
        """Count the matching live codes."""
        async with self.database.connection() as connection:
            return await count_codes(connection, program_id, wanted, self.clock())

    async def one(self, program_id: uuid.UUID, ref: CodeRef) -> ShownCode:
        """Return one code, by its id even if it is archived; raises Missing."""
        async with self.database.connection() as connection:
            code_id = await find_code(connection, program_id, ref)
            codes = await promotion_codes.read_codes(connection, program_id, [code_id] if code_id else [])
            if not codes:
                raise Missing(str(ref))
            return (await with_owners(connection, program_id, codes))[0]


async def with_owners(connection: Connection, program_id: uuid.UUID, codes: Sequence[PromotionCode]) -> list[ShownCode]:
    """Return each code with its coupon and its partner."""
    program = await programs.find_program(connection, program_id)
    if program is None:
        raise Missing
    of_codes = await coupons.read_coupons(connection, program_id, list({code.coupon_id for code in codes}))
    by_id = {coupon.id: coupon for coupon in of_codes}
    partner_ids = list({code.partner_id for code in codes if code.partner_id})
    owners = await partners.read_partners(connection, program_id, partner_ids)
    return [
        ShownCode(
            code,
            by_id[code.coupon_id],
            owners.get(code.partner_id) if code.partner_id else None,
            program.settings.link_url,
        )
        for code in codes
    ]
