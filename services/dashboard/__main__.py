"""The dashboard as a process: `python -m services.dashboard serve` or `migrate`."""

from pathlib import Path

from services.dashboard.app import SERVICE, run
from services.dashboard.config import DashboardSettings
from shared.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service(SERVICE, DashboardSettings, run, Path(__file__).parent / "migrations"))
