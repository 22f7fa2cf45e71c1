"""Makes the receiver helpers importable where they lie: they are packages of their own, for others to install."""

import sys
from pathlib import Path

RECEIVERS = Path(__file__).parents[2] / "receivers"
sys.path.insert(0, str(RECEIVERS / "python"))
