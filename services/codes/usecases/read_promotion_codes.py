"""Reads promotion codes as their program sees them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.codes.domain.coupons import CouponRef
from services.codes.domain.errors import Missing
from services.codes.domain.promotion_codes import CodeFilter, CodeRef, CodesPage, PromotionCode, ShownCode
from services.codes.store import coupons, partners, programs, promotion_codes
from services.codes.store.promotion_codes import Part, Wanted
from shared.canonical import canonical_code
from shared.database.pool import Connection, Database


@dataclass(frozen=True, slots=True)
class ReadPromotionCodes:
    """One code by any of its names, or a page of codes."""

    database: Database

    async def __call__(
        self, program_id: uuid.UUID, wanted: CodeFilter, after: uuid.UUID | None, offset: int, limit: int
    ) -> CodesPage:
        """Return up to `limit` matching live codes, newest first, older than `after`, without the first `offset`.

        A page by `is_active` or `customer_id` may be short before the end.
        """
        async with self.database.connection() as connection:
            if wanted.id or wanted.code is not None or wanted.external_id is not None:
                found = await _named(connection, program_id, wanted)
                return CodesPage(found if after is None and offset == 0 else [], None)
            names = await _resolved(connection, program_id, wanted)
            if names is None:
                return CodesPage([], None)
            page = await promotion_codes.list_ids(connection, names, Part(after, offset, limit))
            codes = await promotion_codes.read_codes(connection, program_id, page.items)
            return CodesPage(await with_owners(connection, program_id, codes), page.next_after)

    async def one(self, program_id: uuid.UUID, ref: CodeRef) -> ShownCode:
        """Return one code, by its id even if it is archived; raises Missing."""
        async with self.database.connection() as connection:
            code_id = await find_code(connection, program_id, ref)
            codes = await promotion_codes.read_codes(connection, program_id, [code_id] if code_id else [])
            if not codes:
                raise Missing(str(ref))
            return (await with_owners(connection, program_id, codes))[0]


async def find_code(connection: Connection, program_id: uuid.UUID, ref: CodeRef) -> uuid.UUID | None:
    """Find a code: by its id, archived or not, or else the live one with this string."""
    if (code_id := ref.as_id) is not None and await promotion_codes.read_codes(connection, program_id, [code_id]):
        return code_id
    try:
        canonical = canonical_code(ref.text)
    except ValueError:
        return None
    return await promotion_codes.find_by_canonical(connection, program_id, canonical)


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


async def _named(connection: Connection, program_id: uuid.UUID, wanted: CodeFilter) -> list[ShownCode]:
    """Return the named live code, if it matches the rest of the filter."""
    found: set[uuid.UUID | None] = set()
    if wanted.id is not None:
        found.add(wanted.id)
    if wanted.code is not None:
        found.add(await find_code(connection, program_id, CodeRef(wanted.code, is_code=True)))
    if wanted.external_id is not None:
        found.add(await promotion_codes.find_by_external_id(connection, program_id, wanted.external_id))
    names = await _resolved(connection, program_id, wanted)
    if len(found) != 1 or names is None or (code_id := found.pop()) is None:
        return []
    codes = [
        code
        for code in await promotion_codes.read_codes(connection, program_id, [code_id])
        if code.archived_at is None
        and names.coupon_id in (None, code.coupon_id)
        and names.partner_id in (None, code.partner_id)
        and names.customer_id in (None, code.customer_id)
        and names.is_active in (None, code.is_active)
    ]
    return await with_owners(connection, program_id, codes)


async def _resolved(connection: Connection, program_id: uuid.UUID, wanted: CodeFilter) -> Wanted | None:
    """Resolve the names in the filter; None if one finds nothing, because then no code matches."""
    coupon_id = None
    if wanted.coupon is not None:
        coupon = await coupons.find_coupon(connection, program_id, CouponRef(wanted.coupon))
        if coupon is None:
            return None
        coupon_id = coupon.id
    partner_id = wanted.partner_id
    if partner_id is not None and await partners.find_partner(connection, partner_id, program_id) is None:
        return None
    if wanted.partner_email is not None:
        by_email = await partners.find_by_email(connection, program_id, wanted.partner_email)
        if by_email is None or partner_id not in (None, by_email):
            return None
        partner_id = by_email
    return Wanted(program_id, coupon_id, partner_id, wanted.customer_id, wanted.is_active)
