"""Reads bare dates in filters as moments in the program's time zone."""

import uuid
from dataclasses import dataclass
from datetime import date, datetime

from services.redemption.domain.listing import first_moment, moment_after
from services.redemption.store.history import read_timezone
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ResolveDays:
    """Looks up the program's time zone only if a date needs one."""

    database: Database

    async def __call__(
        self, program_id: uuid.UUID, since: date | None, before: date | None, *, is_whole_day: bool = False
    ) -> tuple[datetime | None, datetime | None]:
        """Return both ends of a range; `is_whole_day` if it includes a date given as its end."""
        if all(value is None or isinstance(value, datetime) for value in (since, before)):
            return _moment(since), _moment(before)
        async with self.database.connection() as connection:
            timezone = await read_timezone(connection, program_id)
        end = moment_after if is_whole_day else first_moment
        return (
            _moment(since) or (None if since is None else first_moment(since, timezone)),
            _moment(before) or (None if before is None else end(before, timezone)),
        )


def _moment(value: date | None) -> datetime | None:
    return value if isinstance(value, datetime) else None
