"""The webhook service as a process: `python -m services.webhooks serve`, `migrate` or `demo`."""

from pathlib import Path

from services.webhooks.app import SERVICE, run
from services.webhooks.config import WebhooksSettings
from services.webhooks.demo import fill
from shared.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service(SERVICE, WebhooksSettings, run, Path(__file__).parent / "migrations", fill))
