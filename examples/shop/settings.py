"""The shop's settings: SHOP_* variables, and what only a file knows, as in containers (SHOP_SETTINGS_FILE)."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL


@dataclass(frozen=True)
class Settings:
    """Where the shop listens, whom it asks, and with what; `url` is the one address at which browsers reach it."""

    host: str
    port: int
    url: URL
    program_id: str
    api_key: str = field(repr=False)
    redemption_url: URL
    amqp_url: URL = field(repr=False)
    database: Path
    dashboard_url: URL | None = None

    @classmethod
    def read(cls) -> "Settings":
        """Read SHOP_* variables; raises KeyError with the name of a missing one."""
        file = os.environ.get("SHOP_SETTINGS_FILE")
        known: dict[str, str] = json.loads(Path(file).read_text()) if file else {}
        known |= {name.removeprefix("SHOP_").lower(): value for name, value in os.environ.items()}
        port = int(known.get("port", "8004"))
        amqp_url = URL(known["amqp_url"])
        if password := known.get("broker_password"):
            amqp_url = amqp_url.with_password(password)
        return cls(
            host=known.get("host", "127.0.0.1"),
            port=port,
            url=URL(known.get("url") or f"http://localhost:{port}"),
            program_id=known["program_id"],
            api_key=known["api_key"],
            redemption_url=URL(known["redemption_url"]),
            amqp_url=amqp_url,
            database=Path(known.get("database", "shop.sqlite3")),
            dashboard_url=URL(known["dashboard_url"]) if known.get("dashboard_url") else None,
        )
