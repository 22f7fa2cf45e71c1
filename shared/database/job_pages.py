"""Pages of a service's jobs over all programs, as operators see them; each service has its own statement."""

from collections.abc import Sequence
from typing import Any, Final

from shared.database.rows import Rows
from shared.events.operating import JobPage, OperatedJob

SCANNED_PER_PAGE: Final = 1_000


def scanned_for(limit: int, is_finished: bool | None) -> int:
    """Return how many jobs a page may look at: a filter is applied to a bounded number of them."""
    return limit + 1 if is_finished is None else max(SCANNED_PER_PAGE, limit + 1)


def job_page(rows: Sequence[Any], limit: int) -> JobPage:
    """Return the page of rows: one job more than `limit` if there is one, and a mark where the look ended early."""
    jobs = sorted((_job(row) for row in rows if not row["is_mark"]), key=lambda job: job.id, reverse=True)
    if len(jobs) > limit:
        return JobPage(jobs=jobs[:limit], next_after=jobs[limit - 1].id)
    return JobPage(jobs=jobs, next_after=next((row["id"] for row in rows if row["is_mark"]), None))


_job: Final = Rows(OperatedJob)
