"""The local stack's settings; the only module of the stack that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT_FOLDER = ROOT / ".run"


@dataclass(frozen=True)
class StackSettings:
    """The folder of a stack, and the given servers, if any, to use instead of private ones."""

    folder: Path
    database_url: str | None
    amqp_url: str | None
    environment: Mapping[str, str]


def read_settings() -> StackSettings:
    """Read STACK_DIR, DATABASE_URL and AMQP_URL; an empty value counts as none."""
    environment = dict(os.environ)
    return StackSettings(
        folder=Path(environment.get("STACK_DIR") or DEFAULT_FOLDER).expanduser().absolute(),
        database_url=environment.get("DATABASE_URL") or None,
        amqp_url=environment.get("AMQP_URL") or None,
        environment=environment,
    )


def is_in_container() -> bool:
    """Return whether this runs in Mintwire's image, where Docker Compose manages processes and a stack cannot."""
    return "MINTWIRE_IN_CONTAINER" in os.environ


def how_to_start(*services: str) -> str:
    """Return the command that starts the system, or given services, in this environment."""
    return f"`{' '.join(('docker compose up -d', *services))}`" if is_in_container() else "`mintwire stack up`"
