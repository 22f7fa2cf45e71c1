"""Lines of exports, CSV and NDJSON: how an object is written, and the last line, by which a file is known to be whole.

The lines of CSV itself are in `shared.csv_lines`. Pure.
"""

import json
import re
from collections.abc import Mapping
from typing import Final, Literal

FileFormat = Literal["csv", "ndjson"]

# The member of the last NDJSON line of an export, and the last line of a CSV export.
TRAILER: Final = "export"
CSV_TRAILER: Final = re.compile(r"# count=[0-9]+ sha256=[0-9a-f]{64}", re.ASCII)


def csv_trailer(count: int, sha256: str) -> str:
    """Write the last line of a CSV export, which is not a record."""
    return f"# count={count} sha256={sha256}\n"


def ndjson_line(members: Mapping[str, object]) -> str:
    """Write one object."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")) + "\n"


def ndjson_trailer(count: int, sha256: str) -> str:
    """Write the last line of an NDJSON export."""
    return ndjson_line({TRAILER: {"count": count, "sha256": sha256}})
