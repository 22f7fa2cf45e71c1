"""The codes service as a process: `python -m services.codes serve`, `migrate` or `demo`."""

from pathlib import Path

from services.codes.app import SERVICE, run
from services.codes.config import CodesSettings
from services.codes.demo import fill
from shared.service import run_service

if __name__ == "__main__":
    raise SystemExit(run_service(SERVICE, CodesSettings, run, Path(__file__).parent / "migrations", fill))
