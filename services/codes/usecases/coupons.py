"""Coupons: created with their first codes, read, changed until a redemption exists, archived with their codes."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation, difference
from services.codes.domain.code_terms import CodeDraft
from services.codes.domain.coupon_terms import CouponDraft, CouponTerms, changed_coupon
from services.codes.domain.coupons import Coupon, CouponFilter, CouponRef, check_terms
from services.codes.domain.errors import Missing, PartnerCouponNeeded, ProviderNotConnected, TooManyCodes
from services.codes.domain.given import Given
from services.codes.domain.pages import Page
from services.codes.domain.promotion_codes import ShownCoupon, TriedCoupon
from services.codes.store import audit, coupons, programs, promotion_codes
from services.codes.usecases.announcements import coupon_created, coupon_updated
from services.codes.usecases.promotion_codes import CodeMaker
from shared.bounded_counts import BoundedCount
from shared.clock import Clock
from shared.database.idempotency import AnswerOnce
from shared.database.outbox import insert_events
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class CreateCoupon:
    """Creates the coupon and all of its codes, or nothing."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(
        self,
        actor: Actor,
        program_id: uuid.UUID,
        draft: CouponDraft,
        codes: Sequence[CodeDraft],
        once: Once[ShownCoupon],
    ) -> Answer:
        """Create the coupon.

        Raises ProviderNotConnected, InvalidTerms, UUIDCodeTaken, ExternalIDTaken, CodeTaken, NoSuchPartner or
        NoFreeCode.
        """
        events: list[OutboxEvent] = []

        async def work(connection: Connection, now: datetime) -> ShownCoupon:
            made = await self._create(connection, actor, program_id, draft, codes, now)
            event = coupon_created(made.shown.coupon, made.shown.codes, now)
            await insert_events(connection, [event])
            events.append(event)
            return made.shown

        answer = await self.answer_once(once, work)
        self.hand_over(events)
        return answer

    async def dry_run(
        self, actor: Actor, program_id: uuid.UUID, draft: CouponDraft, codes: Sequence[CodeDraft]
    ) -> TriedCoupon:
        """Return what would be created, and create nothing; raises what the creation raises."""
        async with self.answer_once.database.dry_run() as connection:
            return await self._create(connection, actor, program_id, draft, codes, self.answer_once.clock())

    async def _create(
        self,
        connection: Connection,
        actor: Actor,
        program_id: uuid.UUID,
        draft: CouponDraft,
        codes: Sequence[CodeDraft],
        now: datetime,
    ) -> TriedCoupon:
        if draft.provider is not None:
            raise ProviderNotConnected(draft.provider)
        program = await programs.find_program(connection, program_id)
        if program is None:
            raise Missing
        coupon_id = self.new_id()
        uuid_code = draft.uuid_code or str(coupon_id)
        bare = Coupon(
            id=coupon_id,
            program_id=program_id,
            uuid_code=uuid_code,
            name=uuid_code,
            opening_uses=draft.opening_uses,
            times_redeemed=draft.opening_uses,
            created_at=now,
            updated_at=now,
        )
        coupon = changed_coupon(bare, draft.terms, program.settings)
        await coupons.insert_coupon(connection, coupon)
        await audit.record(connection, actor, program_id, "coupon.created", coupon.id, creation(coupon), now=now)
        maker = CodeMaker(connection, actor, program, coupon, self.new_id, now)
        made = [shown.code for shown in await maker.all(codes)]
        return TriedCoupon(ShownCoupon(coupon, made), program.settings.timezone)


@dataclass(frozen=True, slots=True)
class ChangeCoupon:
    """Existing redemptions keep their terms; the new ones apply to the next."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(
        self,
        actor: Actor,
        program_id: uuid.UUID,
        ref: CouponRef,
        changes: Given[CouponTerms],
        provider: str | None = None,
    ) -> ShownCoupon:
        """Apply the changes to a live coupon.

        Raises Missing, ProviderNotConnected, InvalidTerms, TermsFrozen or ExternalIDTaken.
        """
        events: list[OutboxEvent] = []
        async with self.database.transaction() as connection:
            changed = await self._change(connection, actor, program_id, ref, changes, provider=provider, events=events)
        self.hand_over(events)
        return changed.shown

    async def dry_run(
        self,
        actor: Actor,
        program_id: uuid.UUID,
        ref: CouponRef,
        changes: Given[CouponTerms],
        provider: str | None = None,
    ) -> TriedCoupon:
        """Return the coupon as the changes would leave it, and change nothing; raises what the change raises."""
        async with self.database.dry_run() as connection:
            return await self._change(connection, actor, program_id, ref, changes, provider=provider, events=[])

    async def _change(
        self,
        connection: Connection,
        actor: Actor,
        program_id: uuid.UUID,
        ref: CouponRef,
        changes: Given[CouponTerms],
        provider: str | None,
        events: list[OutboxEvent],
    ) -> TriedCoupon:
        now = self.clock()
        program = await programs.find_program(connection, program_id)
        coupon = await coupons.lock_coupon(connection, program_id, ref)
        if program is None or coupon is None or coupon.archived_at is not None:
            raise Missing(str(ref))
        if provider is not None:
            raise ProviderNotConnected(provider)
        after = changed_coupon(coupon, changes, program.settings)
        check_terms(coupon, after)
        if delta := difference(coupon, after):
            after = replace(after, updated_at=now)
            await coupons.update_coupon(connection, after)
            await audit.record(connection, actor, program_id, "coupon.updated", coupon.id, delta, now=now)
            events.append(coupon_updated(after, delta, now))
            await insert_events(connection, events)
        (shown,) = await with_codes(connection, program_id, [after])
        return TriedCoupon(shown, program.settings.timezone)


# One transaction archives this many well within the statement timeout.
MAX_CODES: Final = 10_000


@dataclass(frozen=True, slots=True)
class ArchiveCoupon:
    """Deletes nothing that a redemption refers to; the strings of coupon and codes become available again."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(self, actor: Actor, program_id: uuid.UUID, ref: CouponRef) -> Coupon:
        """Archive the coupon; a repeat by its id changes nothing. Raises Missing, PartnerCouponNeeded, TooManyCodes."""
        now = self.clock()
        async with self.database.transaction() as connection:
            coupon = await coupons.lock_with_codes(connection, program_id, ref, MAX_CODES)
            if coupon is None:
                raise Missing(str(ref))
            if coupon.archived_at is not None:
                return coupon
            if coupon.is_partner_coupon:
                raise PartnerCouponNeeded
            if not await coupons.archive_coupon(connection, coupon, now, MAX_CODES):
                raise TooManyCodes(MAX_CODES)
            archived = replace(coupon, archived_at=now, updated_at=now)
            delta = difference(coupon, archived)
            await audit.record(connection, actor, program_id, "coupon.archived", coupon.id, delta, now=now)
            event = coupon_updated(archived, delta, now)
            await insert_events(connection, [event])
        self.hand_over([event])
        return archived


# How many of a coupon's newest codes are shown with it; lists of codes have all of them.
SHOWN_CODES: Final = 15


@dataclass(frozen=True, slots=True)
class ReadCoupons:
    """One coupon, or a page of a program's coupons, each with its newest codes."""

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

    async def count(self, program_id: uuid.UUID, wanted: CouponFilter) -> BoundedCount:
        """Count the matching live coupons."""
        async with self.database.connection() as connection:
            return await coupons.count_coupons(connection, program_id, wanted)

    async def one(self, program_id: uuid.UUID, ref: CouponRef) -> ShownCoupon:
        """Return one coupon, by its id even if it is archived; raises Missing."""
        async with self.database.connection() as connection:
            coupon = await coupons.find_coupon(connection, program_id, ref)
            if coupon is None:
                raise Missing(str(ref))
            return (await with_codes(connection, program_id, [coupon]))[0]

    async def by_external_id(self, program_id: uuid.UUID, external_id: str) -> ShownCoupon:
        """Return the live coupon that has this external id; raises Missing."""
        async with self.database.connection() as connection:
            coupon = await coupons.find_by_external_id(connection, program_id, external_id)
            if coupon is None:
                raise Missing(f"coupon with external id {external_id}")
            return (await with_codes(connection, program_id, [coupon]))[0]


async def with_codes(connection: Connection, program_id: uuid.UUID, found: Sequence[Coupon]) -> list[ShownCoupon]:
    """Return each coupon with its newest codes."""
    ids = [coupon.id for coupon in found]
    codes = await promotion_codes.newest_of_coupons(connection, program_id, ids, SHOWN_CODES + 1)
    return [
        ShownCoupon(coupon, codes[coupon.id][:SHOWN_CODES], has_more_codes=len(codes[coupon.id]) > SHOWN_CODES)
        for coupon in found
    ]
