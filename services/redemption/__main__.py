"""The redemption service as a process: `python -m services.redemption serve`, `migrate` or `demo`."""

from pathlib import Path

from services.redemption.app import SERVICE, run
from services.redemption.config import RedemptionSettings
from services.redemption.demo import fill
from shared.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service(SERVICE, RedemptionSettings, run, Path(__file__).parent / "migrations", fill))
