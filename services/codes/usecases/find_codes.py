"""Finds the live codes that a filter matches, page by page, for all who list codes."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from services.codes.domain.coupons import CouponRef
from services.codes.domain.days import as_start
from services.codes.domain.promotion_codes import CodeFilter, CodeRef
from services.codes.store import code_lists, codes, coupons, partners, programs, promotion_codes
from services.codes.store.code_lists import IdsPage, Part, Wanted
from shared.bounded_counts import BoundedCount, bounded_count
from shared.canonical import canonical_code
from shared.database.pool import Connection


async def find_page(
    connection: Connection, program_id: uuid.UUID, wanted: CodeFilter, part: Part, now: datetime
) -> IdsPage:
    """Return the ids of one part of a list, newest first, or with a prefix in the order of the strings.

    A page by a filter without an index may be short before the end.
    """
    names = await _resolved(connection, program_id, wanted, now)
    if names is None:
        return IdsPage([], None)
    if wanted.is_named:
        is_first = part.after is None and part.offset == 0
        return IdsPage(await _named(connection, wanted, names) if is_first else [], None)
    return await code_lists.list_ids(connection, names, part)


async def count_codes(connection: Connection, program_id: uuid.UUID, wanted: CodeFilter, now: datetime) -> BoundedCount:
    """Count the codes of a list."""
    names = await _resolved(connection, program_id, wanted, now)
    if names is None:
        return bounded_count(0, is_whole=True)
    if wanted.is_named:
        return bounded_count(len(await _named(connection, wanted, names)), is_whole=True)
    return await code_lists.count_ids(connection, names)


async def find_code(connection: Connection, program_id: uuid.UUID, ref: CodeRef) -> uuid.UUID | None:
    """Find a code: by its id, archived or not, or else the live one with this string."""
    if (code_id := ref.as_id) is not None and await promotion_codes.read_codes(connection, program_id, [code_id]):
        return code_id
    try:
        canonical = canonical_code(ref.text)
    except ValueError:
        return None
    return await promotion_codes.find_by_canonical(connection, program_id, canonical)


async def _named(connection: Connection, wanted: CodeFilter, names: Wanted) -> Sequence[uuid.UUID]:
    """Return the id of the named live code, if it matches the rest of the filter."""
    found: set[uuid.UUID | None] = set()
    if wanted.id is not None:
        found.add(wanted.id)
    if wanted.code is not None:
        found.add(await find_code(connection, names.program_id, CodeRef(wanted.code, is_code=True)))
    if wanted.external_id is not None:
        found.add(await promotion_codes.find_by_external_id(connection, names.program_id, wanted.external_id))
    if wanted.reference is not None and names.partner_id is not None:
        found.add(await codes.find_reference(connection, names.partner_id, wanted.reference))
    if len(found) != 1 or (code_id := found.pop()) is None:
        return []
    return await code_lists.find_matching(connection, names, [code_id])


async def _resolved(connection: Connection, program_id: uuid.UUID, wanted: CodeFilter, now: datetime) -> Wanted | None:
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
    timezone = "UTC"
    if wanted.created_from is not None or wanted.created_before is not None:
        program = await programs.find_program(connection, program_id)
        timezone = timezone if program is None else program.settings.timezone
    return Wanted(
        program_id=program_id,
        now=now,
        coupon_id=coupon_id,
        partner_id=partner_id,
        customer_id=wanted.customer_id,
        batch_id=wanted.batch_id,
        prefix=wanted.prefix,
        is_active=wanted.is_active,
        status=wanted.status,
        created_from=as_start(wanted.created_from, timezone),
        created_before=as_start(wanted.created_before, timezone),
    )
