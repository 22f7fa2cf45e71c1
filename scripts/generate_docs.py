"""Writes the committed documents: `python -m scripts.generate_docs`. A published event only gains optional members."""

import json
import sys
from pathlib import Path

from scripts.api_documents import openapi_documents
from scripts.compatibility import breaks
from scripts.event_documents import ASYNCAPI_FILE, EVENTS_FOLDER, ROOT, asyncapi, event_schemas
from scripts.origin_maps import origin_maps


def main() -> int:
    """Write new and changed documents; return 1 if a published event would change for its consumers."""
    refused = _write_schemas()
    _write({ASYNCAPI_FILE: asyncapi(), **openapi_documents(), **origin_maps()})
    for name, faults in refused.items():
        sys.stderr.write(
            f"docs/events/{name} is published and stays ({'; '.join(faults)}): add a new version beside it.\n"
        )
    return 1 if refused else 0


def _write_schemas() -> dict[str, list[str]]:
    refused = {}
    for name, content in event_schemas().items():
        path = EVENTS_FOLDER / name
        if path.exists() and (faults := breaks(json.loads(path.read_text("utf-8")), json.loads(content))):
            refused[name] = faults
        else:
            _write({path: content})
    return refused


def _write(contents: dict[Path, str]) -> None:
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text("utf-8") != content:
            path.write_text(content, "utf-8")
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    raise SystemExit(main())
