"""Ids that no object has: the first and the last in order, where lists begin and end, and the id of nobody. Pure."""

import uuid
from typing import Final

FIRST_ID: Final = uuid.UUID(int=0)
LAST_ID: Final = uuid.UUID(int=2**128 - 1)
NOBODY: Final = FIRST_ID
