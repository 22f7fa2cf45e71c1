"""The filters that all lists of codes share."""

from typing import Any, Final

from pydantic import Field

from services.codes.api.fields import CodePrefix
from services.codes.domain.codes import CodeStatus
from shared.web import CursorQuery, InstantOrDate, window

_SHORT: Final = "With it, a page may be short before the end: continue while there is a next cursor."


class ListedCodes(CursorQuery):
    """Filters of a list of codes."""

    code_prefix: CodePrefix | None = Field(
        None,
        description="How the code begins, in any spelling, with at least 4 letters or digits. With it, codes are "
        "sorted by their characters.",
    )
    status: CodeStatus | None = Field(None, description=_SHORT)
    created_from: InstantOrDate | None = Field(
        None, description="Created at this time or later; a bare date is its first moment in the program's time zone."
    )
    created_before: InstantOrDate | None = Field(
        None, description="Created before this time; a bare date is its first moment in the program's time zone."
    )
    _in_order = window("created_from", "created_before")

    @property
    def filters(self) -> dict[str, Any]:
        """The members of a `CodeFilter`."""
        return {
            "prefix": self.code_prefix,
            "status": self.status,
            "created_from": self.created_from,
            "created_before": self.created_before,
        }
