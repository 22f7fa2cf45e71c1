"""How the statements that list ids mark where to continue.

A page reads a bounded number of rows, so that rare matches cost no more among ten million rows than among a
hundred; a page can therefore be short, or even empty, without being the last.
"""

import uuid
from collections.abc import Sequence
from typing import Any, Final

from services.codes.domain.pages import Page

SCANNED_PER_PAGE: Final = 1_000
# Up to this many coupons, a partner's codes are searched coupon by coupon.
MOST_COUPONS: Final = 50


def page_of_ids(rows: Sequence[Any], limit: int) -> Page[uuid.UUID]:
    """Return the first `limit` ids of rows that have one more if there is one, or a mark if there may be."""
    ids = sorted((row["id"] for row in rows if not row["is_mark"]), reverse=True)
    if len(ids) > limit:
        return Page(ids[:limit], ids[limit - 1])
    return Page(ids, next((row["id"] for row in rows if row["is_mark"]), None))
