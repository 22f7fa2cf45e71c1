"""Writes the committed documents: `python -m scripts.generate_docs`. Never changes the schema of a published event."""

import sys
from pathlib import Path

from scripts.api_documents import openapi_documents
from scripts.event_documents import ASYNCAPI_FILE, EVENTS_FOLDER, ROOT, asyncapi, event_schemas


def main() -> int:
    """Write what is new or changed; return 1 if a published event's schema would have to change."""
    refused = _write_schemas()
    _write({ASYNCAPI_FILE: asyncapi(), **openapi_documents()})
    for name in refused:
        sys.stderr.write(f"docs/events/{name} is published and stays: add a new version of the model beside it.\n")
    return 1 if refused else 0


def _write_schemas() -> list[str]:
    refused = []
    for name, content in event_schemas().items():
        path = EVENTS_FOLDER / name
        if path.exists() and path.read_text("utf-8") != content:
            refused.append(name)
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
