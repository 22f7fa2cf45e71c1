"""Reads the codes of a selection, page by page; shared by exports, results of jobs and bulk actions."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.codes.domain.code_selection import CodeSelection, Place
from services.codes.domain.coupons import CouponRef
from services.codes.domain.days import as_start
from services.codes.domain.errors import Missing
from services.codes.store import coupons, partners, programs, selected_codes
from shared.database.pool import Connection
from shared.known_ids import FIRST_ID

SCANNED_PER_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """One page: the matching codes, their coupon, and where to continue; None at the end."""

    uuid_code: str
    ids: Sequence[uuid.UUID]
    following: Place | None


async def resolved(connection: Connection, program_id: uuid.UUID, wanted: CodeSelection) -> CodeSelection:
    """Return a selection with its coupon and partner resolved, and its dates as moments; raises Missing."""
    program = await programs.find_program(connection, program_id)
    if program is None:
        raise Missing
    timezone = program.settings.timezone
    wanted = replace(
        wanted,
        created_from=as_start(wanted.created_from, timezone),
        expires_from=as_start(wanted.expires_from, timezone),
        expires_before=as_start(wanted.expires_before, timezone),
    )
    if wanted.coupon is not None:
        ref = CouponRef(wanted.coupon)
        coupon = await coupons.find_coupon(connection, program_id, ref)
        if coupon is None:
            raise Missing(str(ref))
        wanted = replace(wanted, coupon_id=coupon.id)
    if wanted.partner_email is not None:
        partner_id = await partners.find_by_email(connection, program_id, wanted.partner_email)
        if partner_id is None:
            raise Missing(f"partner with e-mail address {wanted.partner_email}")
        # No code has two partners.
        both = wanted.partner_id is not None and wanted.partner_id != partner_id
        wanted = replace(wanted, partner_id=FIRST_ID if both else partner_id)
    if wanted.batch_id is not None:
        # A batch belongs to one coupon, so the program's others are not read in vain.
        of_batch = await selected_codes.coupon_of_batch(connection, program_id, wanted.batch_id)
        if of_batch is None or wanted.coupon_id not in (None, of_batch):
            wanted = replace(wanted, batch_id=FIRST_ID)
        else:
            wanted = replace(wanted, coupon_id=of_batch)
    return wanted


async def next_stretch(
    connection: Connection, program_id: uuid.UUID, wanted: CodeSelection, place: Place | None
) -> Stretch:
    """Read the next page from a position, None for the beginning, inside the caller's transaction."""
    await selected_codes.plan_for_these(connection)
    start = place.coupon_id if place else None
    found = await selected_codes.next_coupon(connection, program_id, start, wanted.coupon_id)
    if found is None:
        return Stretch("", (), None)
    coupon_id, uuid_code = found
    after = place.after if place and place.coupon_id == coupon_id else FIRST_ID
    page = await selected_codes.page_of_ids(connection, program_id, coupon_id, after, wanted, SCANNED_PER_PAGE)
    if page.next_after is not None:
        return Stretch(uuid_code, page.ids, Place(coupon_id, page.next_after))
    if wanted.coupon_id is not None:
        return Stretch(uuid_code, page.ids, None)
    return Stretch(uuid_code, page.ids, Place(_after(coupon_id), FIRST_ID))


def _after(coupon_id: uuid.UUID) -> uuid.UUID:
    """Return the smallest id that the next coupon can have."""
    return uuid.UUID(int=coupon_id.int + 1)
