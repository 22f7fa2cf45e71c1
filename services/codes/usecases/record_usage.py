"""Records how often codes and coupons were used, from the events of the redemption service."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.codes.domain.usage import UsageReport, added_by_coupon, newer_usages, newest
from services.codes.store import usage
from shared.database import inbox
from shared.database.customer_parts import known_as_erased
from shared.database.inbox import InboxEntry, Verdict
from shared.database.pool import Connection, Database


@dataclass(frozen=True, slots=True)
class RecordUsage:
    """The order and repetition of events do not matter: the newer version wins."""

    database: Database

    async def __call__(self, reports: Sequence[UsageReport]) -> list[Verdict]:
        """Record a batch in one transaction and return the verdict on each event: fresh, a duplicate or a conflict."""
        if not reports:
            return []
        entries = [InboxEntry(r.code.program_id, r.source, r.event_id, r.body_sha256) for r in reports]
        async with self.database.transaction() as connection:
            verdicts = await inbox.record(connection, entries, [r.received_at for r in reports])
            fresh = [report for report, verdict in zip(reports, verdicts, strict=True) if verdict == "fresh"]
            if fresh:
                await _record(connection, fresh)
        return await known_as_erased(self.database, entries, verdicts)


async def _record(connection: Connection, reports: Sequence[UsageReport]) -> None:
    codes = newest(report.code for report in reports)
    coupons = newest(report.coupon for report in reports if report.coupon is not None)
    known = await usage.lock_codes(connection, [code.id for code in codes])
    codes = newer_usages(codes, known)
    added = added_by_coupon(codes, known, (coupon.id for coupon in coupons))
    if codes:
        await usage.write_codes(connection, codes)
    if coupons or added:
        await usage.lock_coupons(connection, [*(coupon.id for coupon in coupons), *added])
    if coupons:
        await usage.write_coupons(connection, coupons)
    if added:
        await usage.add_to_coupons(connection, added)
