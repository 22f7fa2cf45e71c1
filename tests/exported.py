"""Reading exports as a client does: the trailer says whether all of it is there."""

import csv
import hashlib
import io
import json
from typing import Any


def parsed_csv(text: str) -> list[dict[str, str]]:
    """Read an export, check its trailer, and return its rows."""
    body, trailer = text[: text.rindex("#")], text[text.rindex("#") :]
    found = list(csv.DictReader(io.StringIO(body)))
    assert trailer == f"# count={len(found)} sha256={hashlib.sha256(body.encode()).hexdigest()}\n"
    return found


def parsed_ndjson(text: str) -> list[dict[str, Any]]:
    """Read an export, check its trailer, and return its objects."""
    *lines, trailer = text.splitlines(keepends=True)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert json.loads(trailer) == {"export": {"count": len(lines), "sha256": digest}}
    return [json.loads(line) for line in lines]
