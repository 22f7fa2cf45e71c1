"""How many refused codes a client with a publishable key may have, before it looks like guessing."""

from datetime import timedelta
from typing import Final

BUDGET: Final = 20
WINDOW: Final = timedelta(minutes=10)
